package postgres

import (
	"extauthz/extauthz/internal/session/postgres/tables"
)

// note takes in what a query, or an attempt to connect that matters to checks, came to. The state is changed first.
func (d *Store) note(err error) {
	if err == nil {
		if d.State.IsOK() {
			return
		}
		if d.State.Note(nil) && d.told.IsNew("") {
			d.log.Info("database answers again")
		}
		return
	}
	d.State.Note(err)
	if !d.told.IsNew(err.Error()) {
		return
	}
	if d.Query.Load() == nil {
		d.log.Warn("database not usable yet; retrying", "error", err)
	} else {
		d.log.Warn("database query failed", "error", err)
	}
}

// noteBlamed takes in why one session could not be read, while others can.
func (d *Store) noteBlamed(err error) {
	if d.blamed.IsNew(err.Error()) {
		d.log.Warn("a session's row makes its query fail; its checks get 503, others are not affected",
			"error", err)
	}
}

// noteRefused takes in that a connection could not be made, beside so many that there are.
func (d *Store) noteRefused(err error, connections int) {
	d.observer.Unconnected()
	if connections > 0 && d.more.IsNew(err.Error()) {
		d.log.Warn("no further connection to the database can be made; using the present ones",
			"connections", connections, "error", err)
	}
}

// tellTables logs what was found.
func (d *Store) tellTables(found *tables.Schema) {
	bans, facts := found.Describe()
	d.log.Info("database ready",
		"sessions", found.Session.String(), "users", found.User.String(), "bans", bans, "facts", facts)
	if statement := found.MissingIndex(); statement != "" {
		d.log.Warn("the session table has no index on its token, so each check scans the whole table", "create", statement)
	}
	if found.ExpiresAt.Type == "timestamp" {
		d.log.Info("the sessions' expiry has no time zone and is read as UTC; see extauthz doctor",
			"column", found.ExpiresAt.Name)
	}
}

// tellUnnamed logs, aside, that statements are no longer prepared.
func (d *Store) tellUnnamed(err error) {
	d.Batches.Guard(func() {
		d.log.Info("the connection to the database does not keep prepared statements, as with a connection pooler; "+
			"going on without", "error", err)
	})
}
