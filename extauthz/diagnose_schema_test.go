package extauthz

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A naive timestamp that is written in another zone is proved where it can be, and warned of otherwise; what is said to
// do makes the expiry what Better Auth meant.
func TestDiagnoseTimeZone(t *testing.T) {
	const table = `create table "session" ("id" text, "expiresAt" %[1]s, "token" text unique, "createdAt" %[1]s, "updatedAt" %[1]s, "ipAddress" text, "userAgent" text, "userId" text)`
	users := []string{`create table "user" ("id" text primary key, "name" text, "email" text)`, `insert into "user" values ('user-2', 'Ana', 'ana@example.com')`}
	jwks := serveKeys(t, testKeys()).URL
	for _, row := range []struct{ kind, zone, want string }{
		{"timestamptz", "Asia/Tokyo", "ok time zone: "},
		{"timestamp", "UTC", `warning time zone: "expiresAt" has none and is read as UTC`},
		{"timestamp(3)", "Asia/Tokyo", "failure time zone: \"expiresAt\" is written in a time zone east of UTC and read as UTC: the newest session's createdAt is 9h0m0s ahead of now"},
		{"timestamp", "America/New_York", `warning time zone: "expiresAt" has none`},
	} {
		t.Run(row.kind+" "+row.zone, func(t *testing.T) {
			dsn := newDatabaseURL(t, append(users, fmt.Sprintf(table, row.kind), `set timezone = '`+row.zone+`'`, // a naive column gets local time, as from node-postgres
				fmt.Sprintf(`insert into "session" values ('1', to_timestamp(%d), '%s', now(), now(), null, null, 'user-2')`, time.Now().Add(time.Hour).Unix(), liveToken))...)
			config := Config{JWKSURL: jwks, DatabaseURL: dsn, Now: time.Now}
			found := diagnoseTest(t, config)
			expectFindings(t, found, "database", row.want, "ok sign-out: ", "preserveSessionInDatabase before Better Auth 1.7")
			if strings.HasPrefix(row.want, "ok") {
				return
			}
			for _, f := range found {
				if f.Tried == "time zone" {
					_, statement, _ := strings.Cut(f.Fix, "wrote it: ")
					execute(t, dsn, strings.Replace(statement, "'UTC'", "'"+row.zone+"'", 1))
				}
			}
			a := startAuthorizer(t, config)
			expectReason(t, checkToken(t, a, liveToken), "")
			session, err := a.only().database.Session(t.Context(), liveToken)
			if left := time.Until(session.ExpiresAt); err != nil || left < 50*time.Minute || left > time.Hour {
				t.Errorf("%v, and %s left", err, left)
			}
		})
	}
}

// Tables that are no ordinary ones are warned of.
func TestDiagnoseKindsOfTables(t *testing.T) {
	jwks := serveKeys(t, testKeys()).URL
	dsn := newDatabaseURL(t, append(liveSession(), `create view "live" as select * from "session"`)...)
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: jwks, DatabaseURL: dsn, Schema: SchemaNames{SessionTable: "live"}}), "database",
		`warning view: "public"."live" is a view: its definition decides which rows count`, "Config.Schema.SessionTable")
	parted := newDatabaseURL(t, `create table "user" ("id" text primary key, "name" text, "email" text)`, `insert into "user" values ('user-2', 'Ana', 'ana@example.com')`,
		`create table "session" ("id" text, "expiresAt" timestamptz, "token" text, "userId" text, "ipAddress" text, "userAgent" text, unique ("token")) partition by hash ("token")`,
		`create table session_0 partition of "session" for values with (modulus 2, remainder 0)`, `create table session_1 partition of "session" for values with (modulus 2, remainder 1)`,
		fmt.Sprintf(`insert into "session" values ('1', to_timestamp(%d), '%s', 'user-2')`, in(3600), liveToken))
	expectReason(t, checkToken(t, startAuthorizer(t, Config{JWKSURL: jwks, DatabaseURL: parted}), liveToken), "")
	expectFindings(t, diagnoseTest(t, Config{JWKSURL: jwks, DatabaseURL: parted}), "database", `ok tables: sessions in "public"."session"`, "ok index: ")
}
