package main

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/server"
)

// When the file of settings names another file of the database's, sessions are those of the other database from then
// on, without a restart; so it is when what stands in the file changes.
func TestReloadMovesTheDatabase(t *testing.T) {
	t.Parallel()
	made := newPostgres(t)
	var urls []string
	tokens := []string{"first-databases-token-of-32-chars", "second-databases-token-of-32-char", "third-databases-token-of-32-chars"}
	for i, token := range tokens {
		url, err := made.CreateDatabase(t.Context(), []string{"first", "second", "third"}[i])
		if err != nil {
			t.Fatal(err)
		}
		connection, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			`create table "user" (id text primary key, name text not null, email text not null unique, "emailVerified" boolean not null, "createdAt" timestamptz not null, "updatedAt" timestamptz not null)`,
			`create table session (id text primary key, "expiresAt" timestamptz not null, token text not null unique, "createdAt" timestamptz not null, "updatedAt" timestamptz not null, "ipAddress" text, "userAgent" text, "userId" text not null references "user")`,
			`insert into "user" values ('u', 'Zoë', 'zoe@example.com', true, now(), now())`,
			`insert into session values ('s', now() + interval '1 hour', '` + token + `', now(), now(), null, null, 'u')`,
		} {
			if _, err := connection.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		connection.Close(t.Context())
		urls = append(urls, url)
	}

	jwks, _ := newIssuer(t)
	f := commandtest.Folder{T: t, Path: t.TempDir()}
	config := "better-auth-url: " + issuer + "\njwks-url: " + jwks.URL + "\napi-audience: " + audience + "\ndatabase-url-file: "
	p := startProgram(t, "EXTAUTHZ_CONFIG="+f.Write("extauthz.yaml", config+f.Write("d1", urls[0])+"\n"))
	passes := func(token string) bool { t.Helper(); return p.passes(t, token) }
	if !passes(tokens[0]) || passes(tokens[1]) {
		t.Fatal("the first database does not decide")
	}
	f.Write("extauthz.yaml", config+f.Write("d2", urls[1])+"\n")
	commandtest.Eventually(t, "the second database", func() bool { return passes(tokens[1]) })
	commandtest.Eventually(t, "the first database to be left", func() bool { return !passes(tokens[0]) })
	f.Write("d2", urls[2])
	commandtest.Eventually(t, "the third database", func() bool { return passes(tokens[2]) })
	commandtest.Eventually(t, "the second database to be left", func() bool { return !passes(tokens[1]) })
	f.Write("d1", urls[0]+"&application_name=x") // which no setting names any more
	time.Sleep(2 * server.ReloadInterval)
	if passes(tokens[0]) {
		t.Error("a file that is no longer named is followed")
	}
}
