package examine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/session/postgres/tables"
)

// sessionTable tells what about the tables is as it should not be, though sessions are found in them.
func (f *findings) sessionTable(found *tables.Schema) {
	if !found.Token.Unique && found.Session.Kind != "v" {
		f.Warn("unique", "nothing prevents two sessions with one token; such tokens are refused",
			fmt.Sprintf("create unique index concurrently on %s (%s)", found.Session, tables.QuoteName(found.Token.Name)))
	}
	for _, t := range found.TablesRead() {
		switch t.Kind {
		case "v":
			f.Warn("view", t.String()+" is a view: its definition decides which rows count",
				"See that it shows each row as soon as Better Auth has written it; "+
					"or name the table itself in "+settingOf(found, t)+".")
		case "m":
			f.Warn("materialized view", t.String()+" shows its last refresh only",
				"Name the table itself in "+settingOf(found, t)+".")
		case "f":
			f.Warn("foreign table", t.String()+" is on another server, which may be a standby or down",
				"Point Config.DatabaseURL at the server that Better Auth writes to.")
		}
	}
}

// facts tells what is read beside what every check needs.
func (f *findings) facts(found *tables.Schema) {
	bans, facts := found.Describe()
	f.OK("bans", bans)
	if facts != "" {
		f.OK("facts", facts)
	}
}

// rowSecurity tells whether rows may be hidden from the role; false when all of a table are.
func (f *findings) rowSecurity(found *tables.Schema) bool {
	const tried = "row level security"
	const other = " (a role with bypassrls, or the tables' owner, needs no policy)"
	for _, r := range found.Security {
		if r.Active && !r.Readable {
			f.Fail(tried, fmt.Sprintf("rows of %s are hidden from %s: "+
				"row level security is on and no policy is for this role%s", r.Name, r.Role, other), r.Fix())
			return false
		}
	}
	if err := found.Hidden(); err != nil {
		text, fix, _ := strings.Cut(err.Error(), "; ")
		f.Fail(tried, text+other, fix)
		return false
	}
	for _, r := range found.Security {
		if r.Active && !r.Whole {
			f.Warn(tried, fmt.Sprintf("a policy on %s may hide rows from %s; "+
				"a session that is not found is then 503 and not 401%s", r.Name, r.Role, other), r.Fix())
			return true
		}
	}
	f.OK(tried, "hides no session and no user from the role")
	return true
}

// zone tells whether the expiry's time zone is known. A column without one is read as UTC, and node-postgres writes
// local time into it; that shows where a session's creation lies in the future.
func (f *findings) zone(ctx context.Context, db Connection, found *tables.Schema) {
	const tried = "time zone"
	if found.ExpiresAt.Type == "timestamptz" {
		f.OK(tried, "the expiry has one")
		return
	}
	column := tables.QuoteName(found.ExpiresAt.Name)
	fix := fmt.Sprintf("Run Better Auth with TZ=UTC; "+
		"or, with the zone that wrote it: alter table %s alter column %s type timestamptz using %s at time zone 'UTC'",
		found.Session, column, column)
	for _, name := range []string{"createdat", "updatedat"} {
		written := found.Session.Named(name)
		if written == nil || written.Type != "timestamp" {
			continue
		}
		var ahead *float64 // none without rows
		err := db.QueryRow(ctx, fmt.Sprintf(
			"select extract(epoch from max(%s) - clock_timestamp() at time zone 'UTC')::float8 from %s",
			tables.QuoteName(written.Name), found.Session)).Scan(&ahead)
		if err == nil && ahead != nil && *ahead > finding.WarnSkew.Seconds() {
			f.Fail(tried, fmt.Sprintf("%s is written in a time zone east of UTC and read as UTC: "+
				"the newest session's %s is %s ahead of now, and sessions live so much longer here",
				column, written.Name, (time.Duration(*ahead)*time.Second).Round(time.Minute)), fix)
			return
		}
	}
	f.Warn(tried, fmt.Sprintf("%s has none and is read as UTC; whether it is written as UTC cannot be detected", column),
		fix)
}

// signOut tells what no schema shows.
func (f *findings) signOut() {
	f.OK("sign-out", "a session counts while its row is there and not expired; "+
		"with preserveSessionInDatabase before Better Auth 1.7 a signed-out row is both: "+
		"upgrade, or turn the option off")
}

// grants is what gives a role the rights that the session query needs, and no more.
func grants(found *tables.Schema, role string) string {
	role = tables.QuoteName(role)
	text := fmt.Sprintf("grant usage on schema %s to %s", tables.QuoteName(found.Session.Schema), role)
	for _, t := range found.TablesRead() {
		var names []string
		for _, c := range found.ColumnsRead(t) {
			names = append(names, tables.QuoteName(c.Name))
		}
		text += fmt.Sprintf("; grant select (%s) on %s to %s", strings.Join(names, ", "), t, role)
	}
	return text
}

// relations are the names of the tables that are read, without their schemas.
func relations(found *tables.Schema) []string {
	var names []string
	for _, t := range found.TablesRead() {
		names = append(names, t.Name)
	}
	return names
}

// settingOf is the setting that names the table.
func settingOf(found *tables.Schema, t *tables.Table) string {
	switch t {
	case found.Session:
		return tables.SettingSessionTable
	case found.Member:
		return tables.SettingMemberTable
	}
	return tables.SettingUserTable
}
