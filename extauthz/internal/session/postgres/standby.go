package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/postgres/answer"
	"extauthz/extauthz/internal/session/postgres/lag"
)

// A standby answers by the past: what the primary committed and the standby has not replayed yet, a sign-out for one,
// is not seen there. So sessions are asked of a primary only, unless the configuration says how far behind is near
// enough.

var errStandby = errors.New("it is a standby, which does not see yet who has just signed out; " +
	"connect to the primary, or say by " + lag.Setting + " how far behind a standby may be")

// onlyPrimary refuses connections to a standby, and lets next judge the others. Of several hosts in a connection string
// the next one is tried then. A connection stays what it is, but for a standby that becomes a primary.
func onlyPrimary(next pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, connection *pgconn.PgConn) error {
		standby, err := isStandby(ctx, connection)
		switch {
		case err != nil:
			return err
		case standby:
			return errStandby
		case next != nil:
			return next(ctx, connection)
		}
		return nil
	}
}

func isStandby(ctx context.Context, connection *pgconn.PgConn) (bool, error) {
	// PostgreSQL says so by itself; before 14, and through some poolers, it does not.
	switch connection.ParameterStatus("in_hot_standby") {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	result := connection.ExecParams(ctx, "select pg_is_in_recovery()", nil, nil, nil, nil).Read()
	if result.Err != nil {
		return false, result.Err
	}
	return len(result.Rows) != 1 || string(result.Rows[0][0]) != "f", nil
}

// lagQuery is what a standby's lag is judged by: the time of the last commit that it has replayed, as the primary's
// clock had it, and the time there now, both in seconds since 1970. The first is null on a primary, and -infinity
// where nothing was replayed. A primary that commits nothing looks like one whose commits do not arrive, and is taken
// for it.
const lagQuery = "select case when pg_catalog.pg_is_in_recovery() then " +
	"coalesce(extract(epoch from pg_catalog.pg_last_xact_replay_timestamp()), '-infinity') end::float8, " +
	"extract(epoch from pg_catalog.clock_timestamp())::float8"

// onlyNear refuses connections to a standby that is too far behind, and lets next judge the others. Of several hosts in
// a connection string the next one is tried then.
func (d *Store) onlyNear(next pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, connection *pgconn.PgConn) error {
		sent := d.near.Now()
		result := connection.ExecParams(ctx, lagQuery, nil, nil, nil, nil).Read()
		if result.Err != nil {
			return result.Err
		}
		if len(result.Rows) != 1 || len(result.Rows[0]) != 2 {
			return errors.New("no answer to how far the server is behind")
		}
		if text := string(result.Rows[0][0]); text != "" { // null on a primary
			replayed, err1 := strconv.ParseFloat(text, 64)
			there, err2 := strconv.ParseFloat(string(result.Rows[0][1]), 64)
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			if err := d.near.Judge(replayed, there, sent, d.near.Now()); err != nil {
				return err
			}
		}
		if next != nil {
			return next(ctx, connection)
		}
		return nil
	}
}

// askNear asks for the lag first and for the sessions afterwards, in one round trip and one transaction. In one query
// both would be of one snapshot that is older than the lag, and so might be the answer.
func (c *Connection) askNear(text string, argument any, tokens int) (map[string]*session.Row, error) {
	var questions pgx.Batch
	questions.Queue(lagQuery)
	questions.Queue(text, argument)
	sent := c.database.near.Now()
	answers := c.Conn.SendBatch(context.Background(), &questions)
	defer answers.Close()
	wasStandby, err := c.database.judgeLag(answers.QueryRow(), sent)
	if err != nil {
		return nil, err
	}
	rows, err := answers.Query()
	if err != nil {
		return nil, err
	}
	found, isStandby, err := answer.Read(rows, tokens, &c.query.Query)
	if err == nil && isStandby && !wasStandby {
		return nil, errStandby // a pooler moved in between, and the lag is another server's
	}
	return found, err
}

// judgeLag reads the lag, which was asked for then, and tells by an error when it is too much or not to be trusted.
func (d *Store) judgeLag(row pgx.Row, sent time.Time) (isStandby bool, err error) {
	var replayed *float64
	var there float64
	if err := row.Scan(&replayed, &there); err != nil {
		return false, err
	}
	if replayed == nil {
		d.near.Store(0)
		return false, nil
	}
	return true, d.near.Judge(*replayed, there, sent, d.near.Now())
}

// LagSeconds is what judgeLag judged last.
func (d *Store) LagSeconds() float64 { return d.near.Seconds() }
