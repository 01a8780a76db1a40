package extauthz

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"extauthz/extauthz/internal/finding"
)

// findingsText is one line a finding, for comparison.
func findingsText(found []finding.Finding, part string) string {
	var lines []string
	for _, f := range found {
		if f.Part == part {
			lines = append(lines, fmt.Sprintf("%s %s: %s | %s", f.Level, f.Tried, f.Found, f.Fix))
		}
	}
	return strings.Join(lines, "\n")
}

func diagnoseTest(t *testing.T, config Config) []finding.Finding {
	t.Helper()
	config.Issuer, config.Audiences = testIssuer, []string{testAudience}
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return a.Operator().Diagnose(t.Context())
}

// expectFindings wants each of the texts in the findings of a part, and nothing else than ok where there is none.
func expectFindings(t *testing.T, found []finding.Finding, part string, wants ...string) {
	t.Helper()
	text := findingsText(found, part)
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
	for _, f := range found {
		if f.Level != finding.LevelOK && f.Fix == "" {
			t.Errorf("%+v says not what to do", f)
		}
	}
}

// Each thing that can be wrong with the JWKS is found, and said with its fix.
func TestDiagnoseJWKS(t *testing.T) {
	good := serveKeys(t, testKeys())
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: good.URL}), "jwks",
		"ok TCP: connected to 127.0.0.1", "ok GET "+good.URL, "ok clock: ", "ok usable keys: ", "warning other keys: ")

	secure := httptest.NewTLSServer(good.Config.Handler)
	defer secure.Close()
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: secure.URL, Client: secure.Client()}), "jwks", "ok TLS: TLS 1.3, certificate until ")
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: secure.URL}), "jwks", "failure GET "+secure.URL+": tls: failed to verify certificate")
	// RoundTrip is over before the certificate ends; a clock of that time sees it end.
	end := secure.Certificate().NotAfter
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: secure.URL, Client: secure.Client(), Now: func() time.Time { return end.Add(-time.Hour) }}), "jwks",
		"warning TLS: ", "failure clock: this machine's is ")

	answers := func(status int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for _, row := range []struct{ url, want string }{
		{"http://localhost:1/jwks", "connection refused | See that this machine resolves"},
		{"http://no-such-host.invalid/jwks", "failure GET http://no-such-host.invalid/jwks: dial tcp: lookup no-such-host.invalid"},
		{answers(404, "not found"), "status 404 | See that Config.Issuer is Better Auth's base URL"},
		{answers(200, "<html>"), "not a JWKS"},
		{answers(200, `{"keys":[]}`), "warning usable keys: the key set is empty"},
		{answers(200, `{"keys":[{"kty":"oct","kid":"k","k":"AAAA"}]}`), "failure usable keys: none"},
	} {
		expectFindings(t, diagnoseTest(t, Config{JWKSURL: row.url}), "jwks", row.want)
	}
	for skew, want := range map[time.Duration]string{
		40 * time.Second: "warning clock: this machine's is", -2 * time.Minute: "failure clock: this machine's is 2m0s behind the issuer's",
	} {
		found := diagnoseTest(t, Config{JWKSURL: good.URL, Now: func() time.Time { return time.Now().Truncate(time.Second).Add(skew) }})
		expectFindings(t, found, "jwks", want)
	}
}

// Each thing that can be wrong with the database is found, and said with its fix, and no password with it.
func TestDiagnoseDatabase(t *testing.T) {
	jwks := serveKeys(t, testKeys()).URL
	dsn := sessionsDatabase(t)
	diagnose := func(dsn string, names SchemaNames) []finding.Finding {
		t.Helper()
		return diagnoseTest(t, Config{JWKSURL: jwks, DatabaseURL: dsn, Schema: names})
	}
	expectFindings(t, diagnose(dsn, SchemaNames{}), "database", "ok connect: PostgreSQL 18", "ok clock: ", `ok tables: sessions in "public"."session", users in "public"."user"`,
		"ok query: ", "ok index: ", "warning rights: postgres is a superuser | Give this server a role of its own: create role extauthz", "ok sessions: ")

	role := fmt.Sprintf("doctor_%d", time.Now().UnixNano())
	least, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	least.User = url.UserPassword(role, "s3cret")
	execute(t, dsn, `create role `+role+` login password 's3cret'`)
	found := diagnose(least.String(), SchemaNames{})
	expectFindings(t, found, "database", "failure query: ", "permission denied", `| grant usage on schema "public" to "`+role+`"; grant select ("token", "expiresAt", "userId") on "public"."session" to "`+role+`"`)
	// What is said to do is what helps.
	for _, f := range found {
		if f.Tried == "query" {
			execute(t, dsn, strings.Split(f.Fix, "; ")...)
		}
	}
	found = diagnose(least.String(), SchemaNames{})
	expectFindings(t, found, "database", "ok query: ", "ok rights: "+role+" may read sessions and users, and write nothing")
	execute(t, dsn, `create table "account" ("password" text)`, `grant select on "account" to `+role)
	expectFindings(t, diagnose(least.String(), SchemaNames{}), "database", "warning rights: "+role+" may also read public.account")
	execute(t, dsn, `grant update ("expiresAt") on "session" to `+role)
	expectFindings(t, diagnose(least.String(), SchemaNames{}), "database", "warning rights: "+role+" may change public.session")

	execute(t, dsn, `insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") select 'd' || i, now(), 'd' || i, now(), 'user-2' from generate_series(1, 500) i`, `analyze "session"`)
	expectFindings(t, diagnose(dsn, SchemaNames{}), "database", "ok sessions: about 503 rows")
	execute(t, dsn, `alter table "session" drop constraint "session_token_key"`)
	expectFindings(t, diagnose(dsn, SchemaNames{}), "database", `failure index: none on the session's token: each check reads the whole table | create unique index concurrently on "public"."session" ("token")`)
	expectFindings(t, diagnose(dsn, SchemaNames{SessionTable: "missing"}), "database", `failure tables: there is no table "missing", which Config.Schema.SessionTable names`)

	least.Host = "127.0.0.1:1"
	found = diagnose(least.String(), SchemaNames{})
	expectFindings(t, found, "database", "failure connect: ", "connection refused")
	if text := findingsText(found, "database"); strings.Contains(text, "s3cret") {
		t.Errorf("a password in %s", text)
	}
}
