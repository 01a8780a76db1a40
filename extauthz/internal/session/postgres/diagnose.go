package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/session/postgres/examine"
	"extauthz/extauthz/internal/session/postgres/lag"
)

// findings is what the diagnosis of a part found.
type findings struct{ finding.List }

// Diagnose asks the database as a check would, and what a check does not need to know.
func (d *Store) Diagnose(ctx context.Context) []finding.Finding {
	f := &findings{finding.List{Part: "database"}}
	if len(d.leftOut) > 0 {
		f.Warn("parameters", strings.Join(d.leftOut, ", ")+": unknown, ignored",
			"Correct their spelling in Config.DatabaseURL, or remove them; run-time parameters go as options=-c%20name%3Dvalue.")
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	started := time.Now()
	own, err := d.connect(ctx)
	switch {
	case errors.Is(err, errStandby):
		f.Fail("connect", "a standby answers",
			"Point Config.DatabaseURL at the primary; or say by "+lag.Setting+" how far behind a standby may be: "+
				"a sign-out is seen there so much later.")
		return f.Found
	case lag.TooFar(err) != nil:
		f.lag(lag.TooFar(err), 0)
		return f.Found
	case err != nil:
		f.Fail("connect", err.Error(),
			"See that this machine reaches the host, and that user, password, database and sslmode of "+
				"Config.DatabaseURL are right.")
		return f.Found
	}
	defer own.Close()
	connection := own.Conn
	var version, user string
	var encrypted, local, super bool
	var now time.Time
	err = connection.QueryRow(ctx, `select current_setting('server_version'), current_user::text,
		coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
		coalesce(inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true),
		(select rolsuper from pg_roles where rolname = current_user), clock_timestamp()`).
		Scan(&version, &user, &encrypted, &local, &super, &now)
	if err != nil {
		f.Fail("connect", err.Error(), "Check what answers at Config.DatabaseURL: it must be PostgreSQL.")
		return f.Found
	}
	f.OK("connect", fmt.Sprintf("PostgreSQL %s in %s, as %s", version, time.Since(started).Round(time.Millisecond), user))
	if !encrypted && !local {
		f.Warn("encryption", "none", "Add sslmode=verify-full to Config.DatabaseURL: session tokens travel in these queries.")
	}
	f.Skew("clock", "the database's", time.Since(now).Truncate(time.Second))
	if d.maxLag > 0 {
		sent := time.Now()
		_, err := d.judgeLag(connection.QueryRow(ctx, lagQuery), sent)
		f.lag(err, d.LagSeconds())
	}

	f.Found = append(f.Found, examine.Tables(ctx, connection, d.wanted, own.target.Schema, user, super)...)
	return f.Found
}

// lag tells how far behind the server is that answers, and whether that is near enough.
func (f *findings) lag(err error, seconds float64) {
	const tried = "lag"
	switch {
	case err != nil:
		f.Fail(tried, err.Error(), "See that the standby receives and replays. Where the primary is that quiet, "+
			"have it commit something more often; select pg_current_xact_id() is enough.")
	case seconds == 0:
		f.OK(tried, "none: a primary answers")
	default:
		f.OK(tried, fmt.Sprintf("%.1f s behind its primary", seconds))
	}
}

// Absent tells which of the facts that are asked for the tables have no column for that may be read; nil where they
// have all. It connects, as [Store.Diagnose] does.
func (d *Store) Absent(ctx context.Context) ([]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	own, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer own.Close()
	found, err := d.findTables(ctx, own.Conn, own.target)
	if err != nil {
		return nil, err
	}
	return found.Query().Absent, nil
}
