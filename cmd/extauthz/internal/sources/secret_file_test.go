package sources

import (
	"os"
	"path/filepath"
	"testing"
)

// What Windows' editors put in front of a text is no part of a secret.
func TestSecretFileWithAMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for title, row := range map[string]struct{ content, secret string }{
		"plain":             {"a-secret", "a-secret"},
		"a line":            {"a-secret\r\n", "a-secret"},
		"a mark":            {"\xef\xbb\xbfa-secret", "a-secret"},
		"a mark and a line": {"\xef\xbb\xbfa-secret\r\n", "a-secret"},
		"UTF-16":            {"\xff\xfea\x00-\x00", ""},
		"UTF-16, big end":   {"\xfe\xff\x00a\x00-", ""},
		"a mark alone":      {"\xef\xbb\xbf", ""},
	} {
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		getenv := func(name string) string { return map[string]string{"BETTER_AUTH_SECRET_FILE": path}[name] }
		s, _, err := Load("serve", nil, getenv, nil)
		switch {
		case row.secret == "" && err == nil:
			t.Errorf("%s: it is taken", title)
		case row.secret != "" && (err != nil || string(s.Config.Secret) != row.secret):
			t.Errorf("%s: %v", title, err)
		}
	}
}
