package extauthz

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"extauthz/extauthz/internal/identity"
)

// The shapes in which projects keep Better Auth's tables. Each holds the live and the expired session.
func TestSchemaShapes(t *testing.T) {
	for _, row := range []struct {
		title      string
		statements []string
		insert     string // with two %s: the live and the expired token
		query      string // behind the connection string
		names      SchemaNames
		subject    string
		warning    string // in the log
	}{
		{
			title: "Drizzle, snake_case and timestamp without zone",
			statements: []string{`create table "user" (id text primary key, name text not null, email text not null, email_verified boolean)`,
				`create table session (id text primary key, expires_at timestamp not null, token text not null unique, ip_address text, user_agent text, user_id text not null references "user" (id))`,
				`insert into "user" values ('user-2', 'Ana', 'ana@example.com', true)`},
			insert:  `insert into session (id, expires_at, token, user_id) values ('a', to_timestamp(%d) at time zone 'UTC', '%s', 'user-2'), ('b', to_timestamp(%d) at time zone 'UTC', '%s', 'user-2')`,
			subject: "user-2",
		},
		{
			title: "Prisma, timestamp(3), in a schema of its own",
			statements: []string{`create schema auth`, `create table auth."user" ("id" text primary key, "name" text not null, "email" text not null)`,
				`create table auth."session" ("id" text primary key, "expiresAt" timestamp(3) not null, "token" text not null, "userId" text not null)`,
				`create unique index on auth."session" ("token")`,
				`insert into auth."user" values ('user-2', 'Ana', 'ana@example.com')`},
			insert:  `insert into auth."session" values ('a', to_timestamp(%d) at time zone 'UTC', '%s', 'user-2'), ('b', to_timestamp(%d) at time zone 'UTC', '%s', 'user-2')`,
			query:   "&schema=auth&pgbouncer=true&connection_limit=5",
			subject: "user-2",
		},
		{
			title: "integer ids",
			statements: []string{`create table "user" ("id" integer primary key, "name" text, "email" text)`,
				`create table "session" ("id" serial primary key, "expiresAt" timestamptz, "token" varchar(255) unique, "userId" integer references "user")`,
				`insert into "user" values (42, 'Ana', 'ana@example.com')`},
			insert:  `insert into "session" ("expiresAt", "token", "userId") values (to_timestamp(%d), '%s', 42), (to_timestamp(%d), '%s', 42)`,
			subject: "42",
		},
		{
			title: "uuid ids, and text in the session",
			statements: []string{`create table "user" ("id" uuid primary key, "name" text, "email" text)`,
				`create table "session" ("id" uuid, "expiresAt" timestamptz, "token" text unique, "userId" text)`,
				`insert into "user" values ('0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d', 'Ana', 'ana@example.com')`},
			insert:  `insert into "session" ("expiresAt", "token", "userId") values (to_timestamp(%d), '%s', '0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d'), (to_timestamp(%d), '%s', '0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d')`,
			subject: "0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d",
		},
		{
			title: "plural tables",
			statements: []string{`create table users (id text primary key, name text, email text)`,
				`create table sessions (id text, expires_at timestamptz, token text unique, user_id text)`,
				`insert into users values ('user-2', 'Ana', 'ana@example.com')`},
			insert:  `insert into sessions (expires_at, token, user_id) values (to_timestamp(%d), '%s', 'user-2'), (to_timestamp(%d), '%s', 'user-2')`,
			subject: "user-2",
		},
		{
			title: "prefixed tables, beside other tables with tokens",
			statements: []string{`create table auth_user (id text primary key, name text, email text)`,
				`create table auth_session (id text, expires_at timestamptz, token text unique, user_id text)`,
				`create table password_reset (token text unique, expires_at timestamptz, user_id text references auth_user)`,
				`insert into password_reset values ('reset-token', now() + interval '1 day', null)`,
				`insert into auth_user values ('user-2', 'Ana', 'ana@example.com')`},
			insert:  `insert into auth_session (expires_at, token, user_id) values (to_timestamp(%d), '%s', 'user-2'), (to_timestamp(%d), '%s', 'user-2')`,
			subject: "user-2",
		},
		{
			title: "renamed tables and columns, found by Better Auth's shape, foreign key, type and index",
			statements: []string{`create table account_holder (holder_no bigint primary key, display_name text, email_address text)`,
				`create table login (id text primary key, secret_value text not null unique, expiration timestamptz, ip_address text, user_agent text, holder bigint references account_holder)`,
				`insert into account_holder values (7, 'Ana', 'ana@example.com')`},
			insert:  `insert into login (id, expiration, secret_value, holder) values ('a', to_timestamp(%d), '%s', 7), ('b', to_timestamp(%d), '%s', 7)`,
			subject: "7",
		},
		{
			title: "renamed beyond finding, configured",
			statements: []string{`create schema "my-app"`, `create table "my-app"."People" ("no" integer primary key, "Called" text)`,
				`create table "my-app"."Visits" ("word" text, "until" timestamptz, "who" integer)`,
				`insert into "my-app"."People" values (7, 'Ana')`},
			insert: `insert into "my-app"."Visits" ("until", "word", "who") values (to_timestamp(%d), '%s', 7), (to_timestamp(%d), '%s', 7)`,
			names: SchemaNames{
				SessionTable: "my-app.Visits", SessionColumns: map[string]string{"token": "word", "expiresAt": "until", "userId": "who"},
				UserTable: "my-app.People", UserColumns: map[string]string{"id": "no", "name": "Called", "email": ""},
			},
			subject: "7",
			warning: `create unique index concurrently on \"my-app\".\"Visits\" (\"word\")`,
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			dsn := newDatabaseURL(t, append(row.statements, fmt.Sprintf(row.insert, in(3600), liveToken, in(-1), expiredToken))...)
			log := &lockedBuffer{}
			// The session's time zone must not matter to a timestamp without zone.
			a := startAuthorizer(t, Config{
				JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn + row.query + "&timezone=Asia/Tokyo", Schema: row.names,
				Logger: slog.New(slog.NewTextHandler(log, nil)),
			})
			response := decidedByCheck(t, a, bearerRequest(liveToken))
			expectAllowed(t, response, Identity{Subject: row.subject, Method: identity.MethodSession})
			headers := headerMap(t, response.GetOkResponse().GetHeaders())
			if headers[identity.HeaderUserName] != "Ana" || headers[identity.HeaderExpiresAt] != fmt.Sprint(in(3600)) {
				t.Errorf("headers %v", headers)
			}
			expectToken(t, a, expiredToken, ReasonExpired)
			expectToken(t, a, unknownToken, ReasonUnknownSession)
			if got := strings.Contains(log.String(), "no index"); got != (row.warning != "") || !strings.Contains(log.String(), row.warning) {
				t.Errorf("want the warning %q in:\n%s", row.warning, log)
			}
		})
	}
}

// A schema that does not fit is one line that names table, column and fix.
func TestSchemaThatDoesNotFit(t *testing.T) {
	for _, row := range []struct {
		title      string
		statements []string
		names      SchemaNames
		want       string
	}{
		{"an empty database", nil, SchemaNames{},
			`no table looks like Better Auth's "session" (token, expiresAt, userId); run Better Auth's migrations, or name the table in Config.Schema.SessionTable`},
		{"no token column", []string{`create table "session" ("sid" integer, "expiresAt" timestamptz, "userId" text)`}, SchemaNames{},
			`table "public"."session" has no column for Better Auth's "token"; name it in Config.Schema.SessionColumns as token=column`},
		{"an expiry that is no time", []string{`create table "session" ("token" text, "expiresAt" bigint, "userId" text)`}, SchemaNames{},
			`column "public"."session"."expiresAt" has type int8 where Better Auth's "expiresAt" is a timestamp; name another in Config.Schema.SessionColumns as expiresAt=column`},
		{"two that could be it", []string{`create table "sessions" ("token" text, "expiresAt" timestamptz, "userId" text)`, `create table "Session" ("token" text, "expiresAt" timestamptz, "userId" text)`}, SchemaNames{},
			`both "public"."Session" and "public"."sessions" look like Better Auth's "session"; name one in Config.Schema.SessionTable`},
		{"only a table of reset tokens", []string{`create table "password_reset" ("token" text unique, "expires_at" timestamptz, "user_id" text)`}, SchemaNames{},
			`no table looks like Better Auth's "session"`},
		{"no user table", []string{`create table "session" ("token" text, "expiresAt" timestamptz, "userId" text)`}, SchemaNames{},
			`no table looks like Better Auth's "user", and "public"."session"."userId" references none; name it in Config.Schema.UserTable`},
		{"no e-mail column", []string{`create table "session" ("token" text, "expiresAt" timestamptz, "userId" text)`, `create table "user" ("id" text, "name" text)`}, SchemaNames{},
			`table "public"."user" has no column for Better Auth's "email"; name it in Config.Schema.UserColumns as email=column`},
		{"a configured table that is not there", []string{betterAuthTables}, SchemaNames{SessionTable: "auth.session"},
			`there is no table "auth.session", which Config.Schema.SessionTable names`},
		{"a configured column that is not there", []string{betterAuthTables}, SchemaNames{SessionColumns: map[string]string{"token": "tok"}},
			`table "public"."session" has no column for Better Auth's "token"; name it in Config.Schema.SessionColumns as token=column`},
	} {
		t.Run(row.title, func(t *testing.T) {
			log := &lockedBuffer{}
			a := runAuthorizer(t, Config{
				JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: newDatabaseURL(t, row.statements...), Schema: row.names,
				Logger: slog.New(slog.NewJSONHandler(log, nil)),
			})
			eventually(t, "the line in the log", func() bool {
				return strings.Contains(strings.ReplaceAll(log.String(), `\"`, `"`), row.want)
			})
			expectReason(t, checkToken(t, a, liveToken), ReasonDatabaseUnavailable)
			if missing := a.Missing(); len(missing) == 0 {
				t.Error("ready, with a schema that does not fit")
			}
		})
	}
}

// What changes while we run is found anew, and no check fails by it: a column's name, and a type by which the query
// fails whatever is asked.
func TestSchemaChangesWhileRunning(t *testing.T) {
	const user = "11111111-1111-1111-1111-111111111111"
	for title, statements := range map[string][]string{
		"column": {`alter table "session" rename column "expiresAt" to expires_at`},
		"table":  {`alter table "session" rename to sessions`},
		"type": {`alter table "session" drop constraint "session_userId_fkey"`, `delete from "session" where token <> '` + liveToken + `'`,
			`update "session" set "userId" = '` + user + `'`, `update "user" set "id" = '` + user + `' where "id" = 'user-2'`,
			`delete from "user" where "id" <> '` + user + `'`, `alter table "user" alter column "id" type uuid using "id"::uuid`},
	} {
		t.Run(title, func(t *testing.T) {
			dsn := sessionsDatabase(t)
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
			expectToken(t, a, liveToken, "")
			execute(t, dsn, statements...)
			expectReason(t, checkToken(t, a, liveToken), "") // asked again, on a connection that has looked anew
		})
	}
}

// The query finds tokens and users by their indexes, also for a large batch.
func TestQueryUsesTheIndex(t *testing.T) {
	dsn := sessionsDatabase(t)
	insertSessions(t, dsn, 20000)
	execute(t, dsn, `insert into "user" ("id", "name", "email", "emailVerified") select 'u' || i, 'U', 'u' || i || '@example.com', true from generate_series(1, 10000) i`,
		`update "session" set "userId" = 'u' || substr("id", 2)::integer % 9999 + 1 where "userId" = 'many'`, `vacuum analyze`)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	tokens := make([]string, 100)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("many-%d", i)
	}
	rows, err := connections(a)[0].Conn.Query(t.Context(), "explain "+a.only().database.Query.Load().Many, tokens)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
	}
	if text := strings.Join(plan, "\n"); !strings.Contains(text, "session_token_key") || !strings.Contains(text, "user_pkey") || strings.Contains(text, "Seq Scan") {
		t.Errorf("the plan:\n%s", text)
	}
}
