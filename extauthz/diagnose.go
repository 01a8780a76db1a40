package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/session/postgres/tables"
)

// Level says how bad a [Finding] is.
type Level string

const (
	LevelOK      Level = "ok"
	LevelWarning Level = "warning" // works, and could be better
	LevelFailure Level = "failure" // checks fail by it
)

// Finding is one thing that was tried.
type Finding struct {
	Part  string `json:"part"`  // what it belongs to: jwks, database
	Tried string `json:"tried"` // in a few words
	Level Level  `json:"level"`
	Found string `json:"found"`          // what came; holds no secret
	Mend  string `json:"mend,omitempty"` // what to do, unless all is well
}

// findings collects what one part's diagnosis found.
type findings struct {
	part string
	list []Finding
}

func (f *findings) ok(tried, found string) {
	f.list = append(f.list, Finding{f.part, tried, LevelOK, found, ""})
}

func (f *findings) warn(tried, found, mend string) {
	f.list = append(f.list, Finding{f.part, tried, LevelWarning, found, mend})
}

func (f *findings) fail(tried, found, mend string) {
	f.list = append(f.list, Finding{f.part, tried, LevelFailure, found, mend})
}

// Diagnose tries what checks depend on, the JWKS and the database, from here and now, step by step, and says of each
// step what came and what to do. It needs no [Authorizer.Run], changes nothing, and takes a few seconds at most where
// something hangs.
func (a *Authorizer) Diagnose(ctx context.Context) []Finding {
	found := a.keys.diagnose(ctx)
	if a.database != nil {
		found = append(found, a.database.diagnose(ctx)...)
	}
	return found
}

const (
	// warnSkew is how far two clocks may differ before somebody should look; the leeway is twice that.
	warnSkew = jwksLeeway / 2
	// slowAnswer is what an unknown kid's fetch, or a session's query, may take of a check's budget.
	slowAnswer = timeBudget / 2
)

// clock compares a Date header (RFC 9110 §6.6.1), which has whole seconds, with the clock here.
func (f *findings) clock(tried, whose, date string, now time.Time) {
	there, err := http.ParseTime(date)
	if err != nil {
		return // no Date, nothing to compare
	}
	f.skew(tried, whose, now.Sub(there).Truncate(time.Second))
}

func (f *findings) skew(tried, whose string, ahead time.Duration) {
	found := fmt.Sprintf("this machine's is %s ahead of %s", ahead, whose)
	if ahead < 0 {
		found = fmt.Sprintf("this machine's is %s behind %s", -ahead, whose)
	}
	const mend = "Set both machines' clocks by NTP; JWTs are judged with a leeway of 60 s, sessions with none."
	switch {
	case ahead.Abs() > jwksLeeway:
		f.fail(tried, found, mend)
	case ahead.Abs() > warnSkew:
		f.warn(tried, found, mend)
	default:
		f.ok(tried, found)
	}
}

// diagnose asks the database as a check would, and what a check does not need to know.
func (d *database) diagnose(ctx context.Context) []Finding {
	f := &findings{part: "database"}
	if len(d.leftOut) > 0 {
		f.warn("parameters", strings.Join(d.leftOut, ", ")+": unknown, and left out",
			"Correct their spelling in DATABASE_URL, or remove them; run-time parameters go as options=-c%20name%3Dvalue.")
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	started := time.Now()
	own, err := d.connect(ctx)
	switch {
	case errors.Is(err, errStandby):
		f.fail("connect", "a standby answers", "Point DATABASE_URL at the primary; or say by "+variableMaxLag+" how far behind a standby may be: a sign-out is seen there so much later.")
		return f.list
	case tooFar(err) != nil:
		f.lag(tooFar(err), 0)
		return f.list
	case err != nil:
		f.fail("connect", err.Error(),
			"See that this machine reaches the host, and that user, password, database and sslmode of DATABASE_URL are right.")
		return f.list
	}
	defer own.close()
	connection := own.conn
	var version, user string
	var encrypted, local, super bool
	var now time.Time
	err = connection.QueryRow(ctx, `select current_setting('server_version'), current_user::text, coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
		coalesce(inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true), (select rolsuper from pg_roles where rolname = current_user), clock_timestamp()`).
		Scan(&version, &user, &encrypted, &local, &super, &now)
	if err != nil {
		f.fail("connect", err.Error(), "See what answers at DATABASE_URL; it must be PostgreSQL.")
		return f.list
	}
	f.ok("connect", fmt.Sprintf("PostgreSQL %s in %s, as %s", version, time.Since(started).Round(time.Millisecond), user))
	if !encrypted && !local {
		f.warn("encryption", "none", "Add sslmode=verify-full to DATABASE_URL: session tokens travel in these queries.")
	}
	f.skew("clock", "the database's", time.Since(now).Truncate(time.Second))
	if d.maxLag > 0 {
		sent := time.Now()
		_, err := d.judgeLag(connection.QueryRow(ctx, lagQuery), sent)
		f.lag(err, d.lagSeconds())
	}

	listed, err := tables.ReadCatalogue(ctx, connection)
	if err != nil {
		f.fail("tables", err.Error(), "Let the role read pg_catalog, as every role may unless it was taken away.")
		return f.list
	}
	found, err := tables.Find(listed, d.names, own.target.schema)
	if err != nil {
		f.fail("tables", err.Error(), "Correct what is said, or point DATABASE_URL at Better Auth's database.")
		return f.list
	}
	f.ok("tables", fmt.Sprintf("sessions in %s, users in %s", found.Session, found.User))
	if err := found.ReadRowSecurity(ctx, connection); err != nil || !f.rowSecurity(found) {
		if err != nil {
			f.fail("row level security", err.Error(),
				"Let the role read pg_catalog, as every role may unless it was taken away.")
		}
		return f.list
	}
	query := found.Query()
	if !f.roundTrip(ctx, connection, query, found, user) {
		return f.list
	}
	if statement := found.MissingIndex(); statement != "" {
		f.fail("index", "none on the session's token: each check reads the whole table", statement)
	} else {
		f.ok("index", "on the session's token")
	}
	f.sessionTable(found)
	f.zone(ctx, connection, found)
	f.signOut()
	f.rights(ctx, connection, found, user, super)
	f.rows(ctx, connection, found)
	return f.list
}

// lag tells how far behind the server is that answers, and whether that is near enough.
func (f *findings) lag(err error, seconds float64) {
	const tried = "lag"
	switch {
	case err != nil:
		f.fail(tried, err.Error(), "See that the standby receives and replays. Where the primary is that quiet, have it commit something more often; select pg_current_xact_id() is enough.")
	case seconds == 0:
		f.ok(tried, "none: a primary answers")
	default:
		f.ok(tried, fmt.Sprintf("%.1f s behind its primary", seconds))
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
			f.fail("query", err.Error(), found.Grants(user))
			return false
		}
		took[i] = time.Since(started)
	}
	slices.Sort(took)
	middle := took[times/2]
	if middle > slowAnswer {
		f.warn("query", fmt.Sprintf("%s, the middle of %d", middle.Round(10*time.Microsecond), times), "A check has 400 ms in all: bring the database nearer, or see what it waits for.")
	} else {
		f.ok("query", fmt.Sprintf("%s, the middle of %d", middle.Round(10*time.Microsecond), times))
	}
	return true
}

// rights tells whether the role may do more than it needs: whoever breaks into this server has its rights.
func (f *findings) rights(ctx context.Context, connection queryer, found *tables.Schema, user string, super bool) {
	const tried = "rights"
	mend := "Give this server a role of its own: create role extauthz login password '…'; " + found.Grants("extauthz")
	if super {
		f.warn(tried, user+" is a superuser", mend)
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
		f.warn(tried, "not known: "+err.Error(), mend)
	case len(writable) > 0:
		f.warn(tried, user+" may change "+shortened(writable), mend)
	case len(readable) > 0:
		f.warn(tried, user+" may also read "+shortened(readable), mend)
	default:
		f.ok(tried, user+" may read sessions and users, and change nothing")
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
		f.ok("sessions", "their number is not known yet: PostgreSQL has not analysed the table")
		return
	}
	f.ok("sessions", fmt.Sprintf("about %.0f rows", estimate))
}
