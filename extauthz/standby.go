package extauthz

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A standby answers by the past: what the primary committed and the standby has not replayed yet, a sign-out for one, is
// not seen there. So sessions are asked of a primary only, unless the configuration says how far behind is near enough.

const variableMaxLag = "EXTAUTHZ_DATABASE_MAX_LAG"

var errStandby = errors.New("it is a standby, which does not see yet who has just signed out; connect to the primary, or say by " + variableMaxLag +
	" how far behind a standby may be")

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
	switch connection.ParameterStatus("in_hot_standby") { // PostgreSQL says so by itself, before 14 and through some poolers it does not
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

// lagQuery is the age, in seconds, of the last commit that a standby has replayed; none at all is endlessly old, and a
// primary has no lag. A primary that commits nothing looks like one whose commits do not arrive, and is taken for it.
const lagQuery = "select case when pg_is_in_recovery() then coalesce(extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()), 'infinity') else 0 end::float8"

// lagError says that a standby is further behind than it may be.
type lagError struct{ most time.Duration }

func (e *lagError) Error() string {
	return fmt.Sprintf("the standby is more than %s behind its primary, or the primary commits less often than that (%s)", e.most, variableMaxLag)
}

func isLagging(err error) bool {
	_, is := errors.AsType[*lagError](err)
	return is
}

// askNear asks for the lag first and for the sessions afterwards, in one round trip, so that the answer is no older
// than the lag that was judged.
func (d *database) askNear(ctx context.Context, text string, argument any, tokens int) (map[string]*sessionRow, error) {
	var questions pgx.Batch
	questions.Queue(lagQuery)
	questions.Queue(text, argument)
	answers := d.pool.SendBatch(ctx, &questions)
	defer answers.Close()
	if err := d.judgeLag(answers.QueryRow()); err != nil {
		return nil, err
	}
	rows, err := answers.Query()
	if err != nil {
		return nil, err
	}
	return readSessions(rows, tokens)
}

// lagSeconds is what judgeLag judged last.
func (d *database) lagSeconds() float64 { return math.Float64frombits(d.lag.Load()) }

// judgeLag reads the lag, and tells by a *lagError when it is too much.
func (d *database) judgeLag(row pgx.Row) error {
	var seconds float64
	if err := row.Scan(&seconds); err != nil {
		return err
	}
	d.lag.Store(math.Float64bits(seconds))
	if seconds > d.maxLag.Seconds() {
		return &lagError{d.maxLag}
	}
	return nil
}
