package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/session/postgres/lag"
	"extauthz/extauthz/internal/session/postgres/tables"
)

// findings is what the diagnosis of a part found.
type findings struct{ finding.List }

// Diagnose asks the database as a check would, and what a check does not need to know.
func (d *Store) Diagnose(ctx context.Context) []finding.Finding {
	f := &findings{finding.List{Part: "database"}}
	if len(d.leftOut) > 0 {
		f.Warn("parameters", strings.Join(d.leftOut, ", ")+": unknown, and left out",
			"Correct their spelling in DATABASE_URL, or remove them; run-time parameters go as options=-c%20name%3Dvalue.")
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	started := time.Now()
	own, err := d.connect(ctx)
	switch {
	case errors.Is(err, errStandby):
		f.Fail("connect", "a standby answers", "Point DATABASE_URL at the primary; or say by "+lag.Variable+" how far behind a standby may be: a sign-out is seen there so much later.")
		return f.Found
	case lag.TooFar(err) != nil:
		f.lag(lag.TooFar(err), 0)
		return f.Found
	case err != nil:
		f.Fail("connect", err.Error(),
			"See that this machine reaches the host, and that user, password, database and sslmode of DATABASE_URL are right.")
		return f.Found
	}
	defer own.Close()
	connection := own.Conn
	var version, user string
	var encrypted, local, super bool
	var now time.Time
	err = connection.QueryRow(ctx, `select current_setting('server_version'), current_user::text, coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
		coalesce(inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true), (select rolsuper from pg_roles where rolname = current_user), clock_timestamp()`).
		Scan(&version, &user, &encrypted, &local, &super, &now)
	if err != nil {
		f.Fail("connect", err.Error(), "See what answers at DATABASE_URL; it must be PostgreSQL.")
		return f.Found
	}
	f.OK("connect", fmt.Sprintf("PostgreSQL %s in %s, as %s", version, time.Since(started).Round(time.Millisecond), user))
	if !encrypted && !local {
		f.Warn("encryption", "none", "Add sslmode=verify-full to DATABASE_URL: session tokens travel in these queries.")
	}
	f.Skew("clock", "the database's", time.Since(now).Truncate(time.Second))
	if d.maxLag > 0 {
		sent := time.Now()
		_, err := d.judgeLag(connection.QueryRow(ctx, lagQuery), sent)
		f.lag(err, d.LagSeconds())
	}

	listed, err := tables.ReadCatalogue(ctx, connection)
	if err != nil {
		f.Fail("tables", err.Error(), "Let the role read pg_catalog, as every role may unless it was taken away.")
		return f.Found
	}
	found, err := tables.Find(listed, d.names, own.target.schema)
	if err != nil {
		f.Fail("tables", err.Error(), "Correct what is said, or point DATABASE_URL at Better Auth's database.")
		return f.Found
	}
	f.OK("tables", fmt.Sprintf("sessions in %s, users in %s", found.Session, found.User))
	if err := found.ReadRowSecurity(ctx, connection); err != nil || !f.rowSecurity(found) {
		if err != nil {
			f.Fail("row level security", err.Error(),
				"Let the role read pg_catalog, as every role may unless it was taken away.")
		}
		return f.Found
	}
	query := found.Query()
	if !f.roundTrip(ctx, connection, query, found, user) {
		return f.Found
	}
	if statement := found.MissingIndex(); statement != "" {
		f.Fail("index", "none on the session's token: each check reads the whole table", statement)
	} else {
		f.OK("index", "on the session's token")
	}
	f.sessionTable(found)
	f.zone(ctx, connection, found)
	f.signOut()
	f.rights(ctx, connection, found, user, super)
	f.rows(ctx, connection, found)
	return f.Found
}

// lag tells how far behind the server is that answers, and whether that is near enough.
func (f *findings) lag(err error, seconds float64) {
	const tried = "lag"
	switch {
	case err != nil:
		f.Fail(tried, err.Error(), "See that the standby receives and replays. Where the primary is that quiet, have it commit something more often; select pg_current_xact_id() is enough.")
	case seconds == 0:
		f.OK(tried, "none: a primary answers")
	default:
		f.OK(tried, fmt.Sprintf("%.1f s behind its primary", seconds))
	}
}

// queryer is a connection, or what acts as one.
type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// roundTrip asks for a session that there is not, a few times, and takes the middle of how long that took.
func (f *findings) roundTrip(ctx context.Context, connection queryer, query tables.Query, found *tables.Schema, user string) bool {
	const times = 9
	took := make([]time.Duration, times)
	for i := range took {
		started := time.Now()
		var isStandby bool
		err := connection.QueryRow(ctx, query.One, "no session has this token").Scan(&isStandby, nil, nil, nil, nil, nil)
		if err != nil {
			f.Fail("query", err.Error(), found.Grants(user))
			return false
		}
		took[i] = time.Since(started)
	}
	slices.Sort(took)
	middle := took[times/2]
	if middle > finding.SlowAnswer {
		f.Warn("query", fmt.Sprintf("%s, the middle of %d", middle.Round(10*time.Microsecond), times), "A check has 400 ms in all: bring the database nearer, or see what it waits for.")
	} else {
		f.OK("query", fmt.Sprintf("%s, the middle of %d", middle.Round(10*time.Microsecond), times))
	}
	return true
}

// rights tells whether the role may do more than it needs: whoever breaks into this server has its rights.
func (f *findings) rights(ctx context.Context, connection queryer, found *tables.Schema, user string, super bool) {
	const tried = "rights"
	mend := "Give this server a role of its own: create role extauthz login password '…'; " + found.Grants("extauthz")
	if super {
		f.Warn(tried, user+" is a superuser", mend)
		return
	}
	var writable, readable []string
	err := connection.QueryRow(ctx, `select
		coalesce(array_agg(distinct quote_ident(n.nspname) || '.' || quote_ident(c.relname)) filter (where has_any_column_privilege(c.oid, 'insert, update') or has_table_privilege(c.oid, 'delete, truncate')), '{}'),
		coalesce(array_agg(distinct quote_ident(n.nspname) || '.' || quote_ident(c.relname)) filter (where has_any_column_privilege(c.oid, 'select') and c.relname::text <> all($1)), '{}')
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')`,
		[]string{found.Session.Name, found.User.Name}).Scan(&writable, &readable)
	switch {
	case err != nil:
		f.Warn(tried, "not known: "+err.Error(), mend)
	case len(writable) > 0:
		f.Warn(tried, user+" may change "+shortened(writable), mend)
	case len(readable) > 0:
		f.Warn(tried, user+" may also read "+shortened(readable), mend)
	default:
		f.OK(tried, user+" may read sessions and users, and change nothing")
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
func (f *findings) rows(ctx context.Context, connection queryer, found *tables.Schema) {
	var estimate float64
	err := connection.QueryRow(ctx, `select coalesce((select c.reltuples from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2), -1)::float8`,
		found.Session.Schema, found.Session.Name).Scan(&estimate)
	if err != nil || estimate < 0 {
		f.OK("sessions", "their number is not known yet: PostgreSQL has not analysed the table")
		return
	}
	f.OK("sessions", fmt.Sprintf("about %.0f rows", estimate))
}
