package extauthz

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"extauthz/extauthz/internal/finding"
)

// securityDatabase is a database with a live session, its owner's URL and one of a role of its own that may read it.
func securityDatabase(t *testing.T, statements ...string) (owner, reader, role string) {
	t.Helper()
	owner = newDatabaseURL(t, liveSession()...)
	role = fmt.Sprintf("reader_%d", time.Now().UnixNano())
	execute(t, owner, append([]string{`create role ` + role + ` login`, `grant usage on schema public to ` + role,
		`grant select on "session", "user" to ` + role}, withRole(role, statements)...)...)
	return owner, strings.Replace(owner, "//postgres@", "//"+role+"@", 1), role
}

func withRole(role string, statements []string) []string {
	var filled []string
	for _, statement := range statements {
		filled = append(filled, strings.ReplaceAll(statement, "ROLE", role))
	}
	return filled
}

// Rows that are hidden, or may be, are an outage and not a sign-out; where all rows are shown nothing is said.
func TestRowLevelSecurity(t *testing.T) {
	const on, onUser = `alter table "session" enable row level security`, `alter table "user" enable row level security`
	for _, row := range []struct {
		title      string
		statements []string
		live       Reason // of the live session
		unknown    Reason // of one that there is not
		finding    string
	}{
		{"off", nil, "", ReasonUnknownSession, "ok row level security: "},
		{"no policy", []string{on}, ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "failure row level security: rows of public.session are hidden from ROLE"},
		{"no policy for the user table", []string{onUser}, ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, `failure row level security: rows of public."user" are hidden from ROLE`},
		{"a policy for another role", []string{on, `create policy p on "session" to pg_monitor using (true)`}, ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "failure row level security: "},
		{"a policy for writing only", []string{on, `create policy p on "session" for update to ROLE using (true)`}, ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "failure row level security: "},
		{"a restrictive policy alone", []string{on, `create policy p on "session" as restrictive for select to ROLE using (true)`}, ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "failure row level security: "},
		{"a policy that shows all", []string{on, onUser, `create policy p on "session" for select to ROLE using (true)`, `create policy p on "user" using (true)`}, "", ReasonUnknownSession, "ok row level security: "},
		{"a policy by a group", []string{on, `create policy p on "session" for select to pg_monitor using (true)`, `grant pg_monitor to ROLE`}, "", ReasonUnknownSession, "ok row level security: "},
		{"a policy that shows some, this one too", []string{on, `create policy p on "session" for select to ROLE using ("userId" = 'user-2')`}, "", ReasonDatabaseUnavailable, "warning row level security: "},
		{"Supabase's policy, which shows none", []string{on, `create policy p on "session" for select using ("userId" = current_setting('request.jwt.sub', true))`},
			ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "warning row level security: "},
		{"all shown, and one narrows it", []string{on, `create policy p on "session" for select to ROLE using (true)`, `create policy q on "session" as restrictive for select to ROLE using ("id" <> 's1')`},
			ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "warning row level security: "},
		{"a role that bypasses it", []string{on, `alter role ROLE bypassrls`}, "", ReasonUnknownSession, "ok row level security: "},
		{"the owner", []string{on, `alter table "session" owner to ROLE`}, "", ReasonUnknownSession, "ok row level security: "},
		{"the owner, forced", []string{on, `alter table "session" owner to ROLE`, `alter table "session" force row level security`}, ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "failure row level security: "},
		{"a member of the owner", []string{on, `create role ROLE_owner`, `alter table "session" owner to ROLE_owner`, `grant ROLE_owner to ROLE`}, "", ReasonUnknownSession, "ok row level security: "},
		{"a view by its owner", []string{`alter table "session" rename to kept`, `alter table kept enable row level security`, `create view "session" as select * from kept`, `grant select on "session" to ROLE`},
			"", ReasonUnknownSession, "ok row level security: "},
		{"a view by its reader", []string{`alter table "session" rename to kept`, `alter table kept enable row level security`, `create view "session" with (security_invoker = on) as select * from kept`,
			`grant select on "session" to ROLE`}, ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "failure row level security: rows of public.kept are hidden from ROLE"},
		{"a view by an owner from whom rows are hidden", []string{`create role ROLE_view`, `grant usage, create on schema public to ROLE_view`, `alter table "session" rename to kept`, `alter table kept enable row level security`, `grant select on kept to ROLE_view`,
			`create view "session" as select * from kept`, `alter view "session" owner to ROLE_view`, `grant select on "session" to ROLE`},
			ReasonDatabaseUnavailable, ReasonDatabaseUnavailable, "failure row level security: rows of public.kept are hidden from ROLE_view"},
	} {
		t.Run(row.title, func(t *testing.T) {
			_, reader, role := securityDatabase(t, row.statements...)
			log := &lockedBuffer{}
			config := Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: reader, Schema: SchemaNames{SessionTable: "session"}, Logger: slog.New(slog.NewTextHandler(log, nil))}
			a := runAuthorizer(t, config)
			if strings.Contains(row.finding, "failure") {
				eventually(t, "the line in the log", func() bool {
					return strings.Contains(log.String(), "row level security is on and no policy is for this role")
				})
			} else {
				eventually(t, "being ready", func() bool { return len(a.Missing()) == 0 })
			}
			expectReason(t, checkToken(t, a, liveToken), row.live)
			expectReason(t, checkToken(t, a, unknownToken), row.unknown)
			found := diagnoseTest(t, config)
			expectFindings(t, found, "database", strings.ReplaceAll(row.finding, "ROLE", role))
			if strings.Contains(row.finding, "failure") && !strings.Contains(row.title, "restrictive") { // what is said to do is what helps
				for _, f := range found {
					if f.Tried == "row level security" && f.Level == finding.LevelFailure {
						execute(t, strings.Replace(reader, "//"+role+"@", "//postgres@", 1), f.Fix)
					}
				}
				eventually(t, "the live session", func() bool { return checkToken(t, a, liveToken) == "" })
			}
		})
	}
}

// Row level security that is switched on, or a policy that is taken away, while the server runs is noticed by the next
// check: no live session is taken for one that was signed out.
func TestRowLevelSecurityWhileRunning(t *testing.T) {
	for _, row := range []struct {
		title       string
		before      []string
		change, fix string
	}{
		{"switched on", nil, `alter table "session" enable row level security`, `alter table "session" disable row level security`},
		{"switched on for users", nil, `alter table "user" enable row level security`, `create policy p on "user" for select using (true)`},
		{"a policy dropped", []string{`alter table "session" enable row level security`, `create policy p on "session" for select to ROLE using (true)`},
			`drop policy p on "session"`, `create policy p on "session" for select to ROLE using (true)`},
		{"a policy changed", []string{`alter table "session" enable row level security`, `create policy p on "session" for select to ROLE using (true)`},
			`alter policy p on "session" using ("id" = 'none')`, `alter policy p on "session" using (true)`},
		{"a policy that narrows", []string{`alter table "session" enable row level security`, `create policy p on "session" for select to ROLE using (true)`},
			`create policy q on "session" as restrictive using (false)`, `drop policy q on "session"`},
		{"forced upon the owner", []string{`alter table "session" enable row level security`, `alter table "session" owner to ROLE`},
			`alter table "session" force row level security`, `alter table "session" no force row level security`},
		{"no longer bypassed", []string{`alter table "session" enable row level security`, `alter role ROLE bypassrls`}, `alter role ROLE nobypassrls`, `alter role ROLE bypassrls`},
		{"behind a view", []string{`alter table "session" rename to kept`, `create view "session" with (security_invoker = on) as select * from kept`, `grant select on "session" to ROLE`},
			`alter table kept enable row level security`, `alter table kept disable row level security`},
	} {
		t.Run(row.title, func(t *testing.T) {
			t.Parallel()
			owner, reader, role := securityDatabase(t, row.before...)
			a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: reader, Schema: SchemaNames{SessionTable: "session"}})
			expectReason(t, checkToken(t, a, liveToken), "")
			expectReason(t, checkToken(t, a, unknownToken), ReasonUnknownSession)
			execute(t, owner, withRole(role, []string{row.change})...)
			for range 5 { // one, and many in a query
				expectReason(t, checkToken(t, a, liveToken), ReasonDatabaseUnavailable)
			}
			execute(t, owner, withRole(role, []string{row.fix})...)
			eventually(t, "the live session", func() bool { return checkToken(t, a, liveToken) == "" })
			expectReason(t, checkToken(t, a, unknownToken), ReasonUnknownSession)
		})
	}
}
