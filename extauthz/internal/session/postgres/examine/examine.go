// Package examine looks at Better Auth's tables as a session query finds them, and says what could be better. It
// imports finding, catalogue and tables. It does not know how a connection is made.
package examine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/session/postgres/catalogue"
	"extauthz/extauthz/internal/session/postgres/tables"
)

// Connection is a connection to PostgreSQL.
type Connection interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// findings is what was found.
type findings struct{ finding.List }

// Tables finds the tables as checks do, by these names and in this schema if it is not empty, asks the session query,
// and looks at what checks do not need to know. user is the role of the connection, super whether it is a superuser.
func Tables(
	ctx context.Context, db Connection, wanted tables.Wanted, preferred, user string, super bool,
) []finding.Finding {
	f := &findings{finding.List{Part: "database"}}
	listed, err := catalogue.Read(ctx, db)
	if err != nil {
		f.Fail("tables", err.Error(), "Let the role read pg_catalog, as every role may by default.")
		return f.Found
	}
	found, err := tables.Find(listed, wanted, preferred)
	if err != nil {
		f.Fail("tables", err.Error(), "Correct this, or set Config.DatabaseURL to Better Auth's database.")
		return f.Found
	}
	f.OK("tables", fmt.Sprintf("sessions in %s, users in %s", found.Session, found.User))
	if err := found.ReadRowSecurity(ctx, db); err != nil || !f.rowSecurity(found) {
		if err != nil {
			f.Fail("row level security", err.Error(),
				"Let the role read pg_catalog, as every role may by default.")
		}
		return f.Found
	}
	query := found.Query()
	if !f.roundTrip(ctx, db, query, found, user) {
		return f.Found
	}
	if statement := found.MissingIndex(); statement != "" {
		f.Fail("index", "none on the session's token: each check reads the whole table", statement)
	} else {
		f.OK("index", "on the session's token")
	}
	f.sessionTable(found)
	f.facts(found)
	f.zone(ctx, db, found)
	f.signOut()
	f.rights(ctx, db, found, user, super)
	f.rows(ctx, db, found)
	return f.Found
}

// roundTrip asks for a session that there is not, a few times, and takes the middle of how long that took.
func (f *findings) roundTrip(
	ctx context.Context, db Connection, query tables.Query, found *tables.Schema, user string,
) bool {
	const times = 9
	took := make([]time.Duration, times)
	var isStandby bool
	into := make([]any, query.Columns()) // nil: what nobody reads
	into[0] = &isStandby
	for i := range took {
		started := time.Now()
		err := db.QueryRow(ctx, query.One, "no session has this token").Scan(into...)
		if err != nil {
			f.Fail("query", err.Error(), grants(found, user))
			return false
		}
		took[i] = time.Since(started)
	}
	slices.Sort(took)
	middle := took[times/2]
	if middle > finding.SlowAnswer {
		f.Warn("query", fmt.Sprintf("%s, median of %d", middle.Round(10*time.Microsecond), times),
			"A check's deadline is 400 ms: move the database nearer, or find out what it waits for.")
	} else {
		f.OK("query", fmt.Sprintf("%s, median of %d", middle.Round(10*time.Microsecond), times))
	}
	return true
}

// rights tells whether the role may do more than it needs: whoever breaks into this server has its rights.
func (f *findings) rights(ctx context.Context, db Connection, found *tables.Schema, user string, super bool) {
	const tried = "rights"
	fix := "Give this server a role of its own: create role extauthz login password '…'; " + grants(found, "extauthz")
	if super {
		f.Warn(tried, user+" is a superuser", fix)
		return
	}
	var writable, readable []string
	err := db.QueryRow(ctx, `select
		coalesce(array_agg(distinct quote_ident(n.nspname) || '.' || quote_ident(c.relname)) filter (
			where has_any_column_privilege(c.oid, 'insert, update') or has_table_privilege(c.oid, 'delete, truncate')), '{}'),
		coalesce(array_agg(distinct quote_ident(n.nspname) || '.' || quote_ident(c.relname)) filter (
			where has_any_column_privilege(c.oid, 'select') and c.relname::text <> all($1)), '{}')
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')`,
		relations(found)).Scan(&writable, &readable)
	switch {
	case err != nil:
		f.Warn(tried, "not known: "+err.Error(), fix)
	case len(writable) > 0:
		f.Warn(tried, user+" may change "+shortened(writable), fix)
	case len(readable) > 0:
		f.Warn(tried, user+" may also read "+shortened(readable), fix)
	default:
		f.OK(tried, user+" may read sessions and users, and write nothing")
	}
}

// shortened names a few of many.
func shortened(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// rows tells roughly how many sessions there are, without reading them.
func (f *findings) rows(ctx context.Context, db Connection, found *tables.Schema) {
	var estimate float64
	err := db.QueryRow(ctx, `select coalesce((
		select c.reltuples from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1 and c.relname = $2), -1)::float8`,
		found.Session.Schema, found.Session.Name).Scan(&estimate)
	if err != nil || estimate < 0 {
		f.OK("sessions", "number unknown: PostgreSQL has not analysed the table yet")
		return
	}
	f.OK("sessions", fmt.Sprintf("about %.0f rows", estimate))
}
