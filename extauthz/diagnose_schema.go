package extauthz

import "fmt"

// sessionTable tells what about the tables is as it should not be, though sessions are found in them.
func (f *findings) sessionTable(found *schema) {
	if !found.token.unique && found.session.kind != "v" {
		f.warn("unique", "nothing keeps two sessions from having one token; such tokens are refused",
			fmt.Sprintf("create unique index concurrently on %s (%s)", found.session, quoteName(found.token.name)))
	}
	for _, t := range []*table{found.session, found.user} {
		switch t.kind {
		case "v":
			f.warn("view", t.String()+" is a view: its definition decides which rows count",
				"See that it shows each row as soon as Better Auth has written it; or name the table itself in "+found.variableOf(t)+".")
		case "m":
			f.warn("materialized view", t.String()+" shows what was there when it was refreshed", "Name the table itself in "+found.variableOf(t)+".")
		case "f":
			f.warn("foreign table", t.String()+" is kept by another server, which may be a standby or be down", "Point DATABASE_URL at the server that Better Auth writes to.")
		}
	}
}

// variableOf is the setting that names the table.
func (s *schema) variableOf(t *table) string {
	if t == s.session {
		return variableSessionTable
	}
	return variableUserTable
}
