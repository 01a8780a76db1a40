package operator_test

import (
	"strings"
	"testing"

	"extauthz/extauthz/internal/session/postgres/tables"
	"extauthz/extauthz/operator"
)

// FuzzParseColumns: columns are read for the fields that there are, and a column's name is one quoted name in SQL.
func FuzzParseColumns(f *testing.F) {
	for _, text := range []string{"", "token=session_token", "token=a, expiresAt=b", "token", "=a", "email=", `token=a"b`, "token=a=b", "other=a"} {
		f.Add(text)
	}
	fields := []string{"token", "expiresAt", "userId"}
	f.Fuzz(func(t *testing.T, text string) {
		columns, err := operator.ParseColumns(text, fields...)
		if err != nil {
			return
		}
		for field, name := range columns {
			if !strings.Contains(strings.Join(fields, ","), field) || !strings.Contains(text, field+"="+name) {
				t.Errorf("%q: %s is %q", text, field, name)
			}
			quoted := tables.QuoteName(name)
			inner := strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`)
			if len(quoted) != len(inner)+2 || strings.ReplaceAll(strings.ReplaceAll(inner, `""`, ""), `"`, "!") != strings.ReplaceAll(inner, `""`, "") {
				t.Errorf("%q is quoted as %s", name, quoted)
			}
		}
	})
}
