package connstring_test

import (
	"net/url"
	"strings"
	"testing"

	"extauthz/extauthz/internal/session/postgres/connstring"
)

// Whatever the connection string, reading it does not panic, and a fault never shows any part of the password.
func FuzzParseDatabaseURL(f *testing.F) {
	f.Add("postgresql+asyncpg://u:", "@db:5432/app?ssl=require")
	f.Add("postgres://u:", "/x@db:99999/app")
	f.Add("postgres://u:5/", "?x=y@db/app")
	f.Add("host=db password=", " sslmode=odd")
	f.Add("jdbc:postgresql://db/app?user=u&password=", "&x")
	f.Add("socket:/tmp?password=", "#@")
	f.Fuzz(func(t *testing.T, before, after string) {
		const password = "correct-horse-battery"
		if _, _, err := connstring.Parse(before + password + after); err != nil && strings.Contains(err.Error(), password) {
			t.Error(err)
		}
		connstring.Unknown(before + password + after)
	})
}

// What was escaped comes back as it was.
func FuzzDatabaseURLRoundTrip(f *testing.F) {
	f.Add("u", "p@ss/w?rd#:%&=+ '\"\\", "my db", "-c search_path=a+b")
	f.Add("é", "%41", "d/e", "x=y&z")
	f.Fuzz(func(t *testing.T, user, password, database, application string) {
		for _, text := range []string{user, password, database, application} {
			if text == "" || strings.ContainsRune(text, 0) {
				t.Skip()
			}
		}
		t.Setenv("PGSSLMODE", "disable")
		escape := func(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
		quote := func(text string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'" }
		for form, dsn := range map[string]string{
			"URL":        "postgresql://" + escape(user) + ":" + escape(password) + "@db:5433/" + escape(database) + "?application_name=" + escape(application),
			"with more":  "postgresql://" + escape(user) + ":" + escape(password) + "@db:5433/" + escape(database) + "?max=1&application_name=" + escape(application),
			"for Python": "postgresql+asyncpg://" + escape(user) + ":" + escape(password) + "@db:5433/" + escape(database) + "?application_name=" + escape(application),
			"keywords":   "host=db port=5433 user=" + quote(user) + " password=" + quote(password) + " dbname=" + quote(database) + " application_name=" + quote(application),
		} {
			config, _, err := connstring.Parse(dsn)
			if err != nil {
				if form == "keywords" && strings.ContainsFunc(dsn, func(r rune) bool { return r < ' ' || r == 0x7f }) {
					continue
				}
				t.Fatalf("%s: %v", form, err)
			}
			c := config.ConnConfig
			if c.Host != "db" || c.Port != 5433 || c.User != user || c.Password != password || c.Database != database || c.RuntimeParams["application_name"] != application {
				t.Errorf("%s: %q %q %q %q", form, c.User, c.Password, c.Database, c.RuntimeParams["application_name"])
			}
		}
	})
}
