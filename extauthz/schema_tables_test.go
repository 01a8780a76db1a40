package extauthz

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// What other libraries keep their sessions in, each with a token of its own that must not pass.
var foreignTables = map[string]string{
	"Auth.js by Drizzle":         `create table "%s" ("sessionToken" text primary key, "userId" text not null, "expires" timestamp not null); insert into "%[1]s" values ('foreign', 'user-2', now() + interval '1 day')`,
	"Auth.js by Prisma":          `create table "%s" ("id" text primary key, "sessionToken" text not null unique, "userId" text not null, "expires" timestamp(3) not null); insert into "%[1]s" values ('1', 'foreign', 'user-2', now() + interval '1 day')`,
	"Auth.js by its pg adapter":  `create table "%s" (id serial primary key, "userId" text not null, expires timestamptz not null, "sessionToken" varchar(255) not null unique); insert into "%[1]s" ("userId", expires, "sessionToken") values ('user-2', now() + interval '1 day', 'foreign')`,
	"connect-pg-simple":          `create table "%s" ("sid" varchar primary key, "sess" json not null, "expire" timestamp(6) not null); insert into "%[1]s" values ('foreign', '{}', now() + interval '1 day')`,
	"Lucia":                      `create table "%s" (id text primary key, user_id text not null, expires_at timestamptz not null); insert into "%[1]s" values ('foreign', 'user-2', now() + interval '1 day')`,
	"Laravel":                    `create table "%s" (id varchar(255) primary key, user_id bigint, ip_address varchar(45), user_agent text, payload text not null, last_activity integer not null)`,
	"a table of somebody's own":  `create table "%s" (token text primary key, user_id text not null, expires_at timestamptz not null); insert into "%[1]s" values ('foreign', 'user-2', now() + interval '1 day')`,
	"Better Auth's, expiry gone": `create table "%s" (id text primary key, token text unique, user_id text, ip_address text, user_agent text)`,
}

// Better Auth's own columns decide which table is meant, whatever the names of the others.
func TestForeignSessionTables(t *testing.T) {
	jwks := serveKeys(t, testKeys()).URL
	for title, foreign := range foreignTables {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			for _, names := range [][2]string{{"session", "sessions"}, {"sessions", "session"}, {"Session", "auth_session"}, {"session", "auth_session"}, {"sessions", "login"}} {
				statements := liveSession()
				if names[1] != "session" {
					statements = append(statements, fmt.Sprintf(`alter table "session" rename to "%s"`, names[1]))
				}
				dsn := newDatabaseURL(t, append(statements, fmt.Sprintf(foreign, names[0]))...)
				a := startAuthorizer(t, Config{JWKSURL: jwks, DatabaseURL: dsn})
				expectReason(t, checkToken(t, a, liveToken), "")
				expectReason(t, checkToken(t, a, "foreign"), ReasonUnknownSession)
			}
		})
	}
}

// Where more than one table could be meant, or another schema has it, the message names them and what to set.
func TestSeveralSessionTables(t *testing.T) {
	jwks := serveKeys(t, testKeys()).URL
	inSchema := func(schema string) string {
		return `create schema ` + schema + `; set search_path = ` + schema + `; ` + betterAuthTables + `; set search_path = public`
	}
	const likeBetterAuths = `create table "%s" (id text, token text unique, expires_at timestamptz, user_id text, ip_address text, user_agent text)`
	const plain = `create table "%s" (token text primary key, user_id text not null, expires_at timestamptz not null)`
	for _, row := range []struct {
		title      string
		statements []string
		query      string
		wants      []string
	}{
		{"a leftover of the same shape", []string{betterAuthTables, fmt.Sprintf(likeBetterAuths, "Session")}, "",
			[]string{`both "public"."Session" and "public"."session" look like Better Auth's "session"; name one in Config.Schema.SessionTable`}},
		{"three", []string{betterAuthTables, fmt.Sprintf(likeBetterAuths, "Session"), fmt.Sprintf(likeBetterAuths, "old_sessions")}, "",
			[]string{`"public"."Session", "public"."old_sessions" and "public"."session" look like`}},
		{"two that only may be", []string{fmt.Sprintf(plain, "sessions"), fmt.Sprintf(plain, "app_session")}, "",
			[]string{`both "public"."app_session" and "public"."sessions" look like`}},
		{"Neon's schema", []string{inSchema("neon_auth")}, "",
			[]string{`no table looks like Better Auth's "session"`, `outside the search_path there is "neon_auth"."session"`,
				"Config.Schema.SessionTable=neon_auth.session", "options=-c%20search_path%3Dneon_auth"}},
		{"Neon's schema, and another library's table here", []string{inSchema("neon_auth"), fmt.Sprintf(foreignTables["connect-pg-simple"], "session")}, "",
			[]string{`table "public"."session" has no column for Better Auth's "token"`, `outside the search_path there is "neon_auth"."session"`}},
		{"one that may be here, and a surer one elsewhere", []string{inSchema("auth"), fmt.Sprintf(plain, "sessions")}, "",
			[]string{`both "public"."sessions" and "auth"."session" look like`}},
		{"two schemas elsewhere", []string{inSchema("tenant_a"), inSchema("tenant_b")}, "",
			[]string{`outside the search_path there is both "tenant_a"."session" and "tenant_b"."session"`}},
		{"Prisma's schema without it", []string{betterAuthTables, "create schema auth"}, "&schema=auth",
			[]string{`outside the search_path there is "public"."session"`}},
		{"Auth.js alone", []string{fmt.Sprintf(foreignTables["Auth.js by its pg adapter"], "sessions")}, "",
			[]string{`table "public"."sessions" has no column for Better Auth's "token"`}},
		{"a materialized view", []string{betterAuthTables, `alter table "session" rename to kept`, `create materialized view "session" as select id, token, "expiresAt", "userId" from kept where false`,
			`alter table kept drop column "userAgent"`}, "",
			[]string{`"public"."session" is a materialized view, which shows a sign-out only once it is refreshed`}},
		{"two user tables", []string{fmt.Sprintf(likeBetterAuths, "session"), `create table "user" (id text, email text, name text)`, `create table users (id text, email text, name text)`}, "",
			[]string{`both "public"."user" and "public"."users" look like Better Auth's "user"`, "Config.Schema.UserTable"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			log := &lockedBuffer{}
			config := Config{JWKSURL: jwks, DatabaseURL: newDatabaseURL(t, row.statements...) + row.query, Logger: slog.New(slog.NewJSONHandler(log, nil))}
			a := runAuthorizer(t, config)
			eventually(t, "the line in the log", func() bool {
				text := strings.ReplaceAll(log.String(), `\"`, `"`)
				for _, want := range row.wants {
					if !strings.Contains(text, want) {
						return false
					}
				}
				return true
			})
			expectReason(t, checkToken(t, a, liveToken), ReasonDatabaseUnavailable)
			expectFindings(t, diagnoseTest(t, config), "database", append([]string{"failure tables: "}, row.wants...)...)
		})
	}
}

// Copies, views and tables that the role may not read are not meant.
func TestCopiesOfTheSessionTable(t *testing.T) {
	dsn := newDatabaseURL(t, append(liveSession(), `create table session_backup as table "session"`, `update session_backup set token = 'foreign'`, `create view live_sessions as table session_backup`)...)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	expectReason(t, checkToken(t, a, liveToken), "")
	expectReason(t, checkToken(t, a, "foreign"), ReasonUnknownSession)
	dsn = sessionsDatabase(t) // read as a role that may read this table alone
	execute(t, dsn, `create table "Session" (like "session" including all)`)
	a = startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	expectReason(t, checkToken(t, a, liveToken), "")
}

// A table in another schema is read when the search_path or the setting says so.
func TestSessionTableElsewhere(t *testing.T) {
	dsn := newDatabaseURL(t, append([]string{"create schema neon_auth", "set search_path = neon_auth"}, liveSession()...)...)
	for _, config := range []Config{
		{DatabaseURL: dsn + "&options=-c%20search_path%3Dneon_auth"}, {DatabaseURL: dsn, Schema: SchemaNames{SessionTable: "neon_auth.session"}}, {DatabaseURL: dsn + "&schema=neon_auth"},
	} {
		config.JWKSURL = serveKeys(t, testKeys()).URL
		expectReason(t, checkToken(t, startAuthorizer(t, config), liveToken), "")
	}
}

// Of two user tables that nothing refers to, Better Auth's own column decides.
func TestForeignUserTable(t *testing.T) {
	for _, foreign := range []string{`create table users (id text, name text, email text, "emailVerified" timestamptz)`, `create table users (id text, name text)`, `create table users (uid text)`} {
		dsn := newDatabaseURL(t, append(liveSession(), `alter table "session" drop constraint "session_userId_fkey"`, foreign)...)
		expectReason(t, checkToken(t, startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn}), liveToken), "")
	}
}

// Types that compare more widely than bytes do, and rows that share a token: only the very token asked for counts, and
// only where one row has it.
func TestTokensAreComparedExactly(t *testing.T) {
	const table = `create table "session" ("id" text, "expiresAt" timestamptz, "token" %s, "userId" text, "ipAddress" text, "userAgent" text)`
	for _, kind := range []string{"char(64)", "varchar(255)", "wide_text", "a_domain"} {
		t.Run(kind, func(t *testing.T) {
			dsn := newDatabaseURL(t, `create domain a_domain as text check (value <> '')`, `create domain wide_text as varchar(99)`,
				`create table "user" ("id" text primary key, "name" text, "email" text)`, `insert into "user" values ('user-2', 'Ana', 'ana@example.com')`, fmt.Sprintf(table, kind),
				fmt.Sprintf(`insert into "session" values ('1', to_timestamp(%d), '%s', 'user-2'), ('2', to_timestamp(%[1]d), 'twice', 'user-2'), ('3', to_timestamp(%[1]d), 'twice', 'user-2')`, in(3600), liveToken))
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
			expectReason(t, checkToken(t, a, liveToken), "")
			expectReason(t, checkToken(t, a, strings.ToLower(liveToken)), ReasonUnknownSession)
			expectReason(t, checkToken(t, a, strings.ToUpper(liveToken)), ReasonUnknownSession)
			expectReason(t, checkToken(t, a, "twice"), ReasonUnknownSession)
			expectFindings(t, diagnoseTest(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn}), "database", "warning unique: ")
		})
	}
}

// While the server runs, no other table takes the place of the one in use as long as that is there, and none that is
// less surely Better Auth's when it is gone.
func TestSessionTableInUse(t *testing.T) {
	foreign := []string{`create table "Session" (like "session" including all)`, fmt.Sprintf(foreignTables["a table of somebody's own"], "sessions"),
		fmt.Sprintf(`insert into "Session" ("id", "expiresAt", "token", "updatedAt", "userId") values ('f', to_timestamp(%d), 'foreign', now(), 'user-2')`, in(3600))}
	dsn := newDatabaseURL(t, liveSession()...)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	expectReason(t, checkToken(t, a, liveToken), "")
	execute(t, dsn, append(foreign, `alter table "session" rename column "expiresAt" to expires_at`)...)
	eventually(t, "the renamed column", func() bool { return checkToken(t, a, liveToken) == "" })
	expectReason(t, checkToken(t, a, "foreign"), ReasonUnknownSession)
	execute(t, dsn, `drop table "Session"`, `alter table "session" rename to kept`, `alter table kept rename column "userAgent" to agent`)
	eventually(t, "the table's absence", func() bool {
		checkToken(t, a, liveToken)
		return strings.Contains(a.only().database.State.Part("database").Fault, `"public"."session", from which sessions were read, is gone, and "public"."sessions" may be another library's`)
	})
	expectReason(t, checkToken(t, a, "foreign"), ReasonDatabaseUnavailable)
	execute(t, dsn, `alter table kept rename column agent to "userAgent"`)
	eventually(t, "the renamed table", func() bool { return checkToken(t, a, liveToken) == "" })
	expectReason(t, checkToken(t, a, "foreign"), ReasonUnknownSession)
}
