package syntax_test

import (
	"strings"
	"testing"

	"extauthz/extauthz/internal/session/postgres/connstring/syntax"
)

// FuzzReadKeywords: what is quoted as libpq wants it is read back, and a fault shows no part of a value.
func FuzzReadKeywords(f *testing.F) {
	f.Add("p@ss w'rd\\", " host=db")
	f.Add("", "")
	f.Add("a", "=")
	f.Add("a", " host='x")
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	f.Fuzz(func(t *testing.T, password, after string) {
		pairs, err := syntax.ReadKeywords("password='" + quote.Replace(password) + "'" + after)
		if err != nil {
			if len(password) > 8 && strings.Contains(err.Error(), password) {
				t.Error(err)
			}
			return
		}
		if pairs[0].Name != "password" || pairs[0].Value != password {
			t.Errorf("%q is read as %+v", password, pairs[0])
		}
	})
}

// FuzzReadURL: whatever stands there, reading it does not panic, a fault shows no part of the password, and a user that
// is read stands in front of the host.
func FuzzReadURL(f *testing.F) {
	for _, after := range []string{"@db:5432/app", "@[::1]:5432/app?ssl=require", "@a,b:1/app", "/x@db/app", "?x=y@db/app", "@db/app#", "", "@", "@/app?host=/run"} {
		f.Add("postgresql", after)
		f.Add("postgresql+asyncpg", after)
		f.Add("mysql", after)
	}
	f.Fuzz(func(t *testing.T, scheme, after string) {
		const password = "correct-horse-battery"
		pairs, err := syntax.ReadURL(scheme, "u:"+password+after)
		if err != nil {
			if strings.Contains(err.Error(), password) {
				t.Error(err)
			}
			return
		}
		for _, p := range pairs {
			if p.Name != "password" && p.Name != "port" && strings.Contains(p.Name+p.Value, password) {
				t.Errorf("the password is taken for %s", p.Name)
			}
		}
	})
}

// FuzzReadSocketURL does not panic, and what is read leads to a folder.
func FuzzReadSocketURL(f *testing.F) {
	for _, rest := range []string{"/run/postgresql?db=app&encoding=utf8", "//u:p@/run?db=a", "//host/run", "/a@b", "", "?", "/run?db=%zz"} {
		f.Add(rest)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		pairs, err := syntax.ReadSocketURL(rest)
		if err != nil {
			return
		}
		for _, p := range pairs {
			if p.Name == "host" && strings.HasPrefix(p.Value, "/") {
				return
			}
		}
		t.Errorf("%q leads nowhere: %+v", rest, pairs)
	})
}
