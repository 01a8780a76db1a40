package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// maxBatch bounds how many tokens one query asks for.
	maxBatch = 512
	// maxPatience bounds how long a query that is under way keeps the next one waiting.
	maxPatience = 10 * time.Millisecond
	// maxWaiting bounds how many checks wait for a connection; past it they are answered with 503 at once. Each takes
	// some 10 KiB meanwhile.
	maxWaiting = 1 << 13
	// discoveryInterval is the time between two looks at a database that is down or does not fit.
	discoveryInterval = time.Second
	// discoveryTimeout is the time for one look at the catalogue.
	discoveryTimeout = 5 * time.Second
)

// sessionRow is what a live or expired session's row, joined with its user's, says.
type sessionRow struct {
	expiresAt           time.Time
	userID, email, name string
}

// lookup is one check's question for one token.
type lookup struct {
	ctx   context.Context
	token string

	done chan struct{}
	row  *sessionRow // nil when there is no such session; valid once done is closed
	err  error       // valid once done is closed

	began, ended time.Time // of its query, for traces; valid once done is closed
	batch        int       // how many shared it
}

// database answers for sessions from PostgreSQL. Every answer comes from a query that was sent after
// its question was asked; nothing is remembered. Questions that wait while all connections are busy
// share the next query. All methods are safe for concurrent use.
type database struct {
	pool    *pgxpool.Pool
	names   SchemaNames
	schema  string        // where to look for the tables; empty for the search_path
	leftOut []string      // the connection string's parameters that nobody knows
	budget  time.Duration // of one query: past it nobody waits any more
	maxLag  time.Duration // of a standby; 0 for a primary only
	log     *slog.Logger

	metrics     *metrics
	tracing     *tracing
	state       partState
	connections int64 // at most

	query   atomic.Pointer[sessionQuery] // the session query, once the tables are found
	unnamed atomic.Bool                  // a pooler in between loses prepared statements, so the query is sent whole
	ready   atomic.Bool                  // it has answered once
	failing atomic.Bool                  // the last query failed; for the log
	hiding  atomic.Pointer[error]        // why a session that is not found may be there; nil when none is hidden
	fault   atomic.Pointer[error]        // why the tables have not been found, while they have not
	waiting chan *lookup
	turn    chan struct{} // held by a query that is under way, unless it takes longer than is usual
	usual   atomic.Int64  // how long a query takes, in nanoseconds, smoothed
	asking  atomic.Int64  // checks that wait for an answer, asked for or not
	lag     atomic.Uint64 // the last that was judged, in seconds: the bits of a float64
	missing chan struct{} // wakes discover: the tables are not as they were
}

// newDatabase makes the pool; it does not connect yet.
func newDatabase(c *Config, metrics *metrics, tracing *tracing) (*database, error) {
	config, schema, err := parseDatabaseURL(c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	leftOut := unknownParameters(c.DatabaseURL)
	if len(leftOut) > 0 {
		c.Logger.Warn("the connection string has parameters that no PostgreSQL driver is known to have; they are left out", "parameters", leftOut)
	}
	config.MaxConns = int32(c.DatabaseConnections)
	if c.DatabaseMaxLag == 0 {
		config.ConnConfig.ValidateConnect = onlyPrimary(config.ConnConfig.ValidateConnect)
	}
	if read := c.ReadDatabaseURL; read != nil {
		config.BeforeConnect = func(_ context.Context, connection *pgx.ConnConfig) error { return readAnew(read, connection) }
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, errors.New("cannot be used to make a connection pool")
	}
	return &database{
		pool: pool, names: c.Schema, schema: schema, leftOut: leftOut, budget: c.budget, maxLag: c.DatabaseMaxLag, log: c.Logger, metrics: metrics, tracing: tracing,
		connections: int64(c.DatabaseConnections),
		waiting:     make(chan *lookup, maxWaiting),
		turn:        make(chan struct{}, 1),
		missing:     make(chan struct{}, 1),
		state:       partState{since: time.Now()},
	}, nil
}

// readAnew puts in where and as whom to connect now.
func readAnew(read func() (string, error), connection *pgx.ConnConfig) error {
	dsn, err := read()
	if err != nil {
		return fmt.Errorf("reading the connection string anew: %w", err)
	}
	config, _, err := parseDatabaseURL(dsn)
	if err != nil {
		return fmt.Errorf("the connection string that was read anew %w", err)
	}
	fresh := config.ConnConfig
	connection.Host, connection.Port, connection.Database = fresh.Host, fresh.Port, fresh.Database
	connection.User, connection.Password = fresh.User, fresh.Password
	connection.TLSConfig, connection.Fallbacks = fresh.TLSConfig, fresh.Fallbacks
	return nil
}

// session returns the row of the session with this token, nil when there is none. The error is a
// *Denial with status 503.
func (d *database) session(ctx context.Context, token string) (*sessionRow, error) {
	l := &lookup{ctx: ctx, token: token, done: make(chan struct{})}
	asked := d.tracing.now()
	d.asking.Add(1)
	defer d.asking.Add(-1)
	select {
	case d.waiting <- l:
	default:
		return nil, unavailable(ReasonOverloaded, errors.New("too many checks wait for the database"))
	}
	select {
	case <-l.done:
		d.tracing.queried(ctx, l.began, l.ended, l.batch, l.err)
		if l.err != nil {
			return nil, unavailable(ReasonDatabaseUnavailable, l.err)
		}
		if hiding := d.hiding.Load(); l.row == nil && hiding != nil {
			return nil, unavailable(ReasonDatabaseUnavailable, *hiding)
		}
		return l.row, nil
	case <-ctx.Done():
		d.tracing.queried(ctx, asked, d.tracing.now(), 0, ctx.Err())
		return nil, givenUp(ctx, "the database")
	}
}

// run finds the tables and answers look-ups until the context ends.
func (d *database) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range d.connections {
		workers.Go(func() { d.work(ctx) })
	}
	d.discover(ctx)
	workers.Wait()
	d.pool.Close()
}

// work answers one batch after another on one connection.
func (d *database) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-d.waiting:
			hasTurn := d.awaitTurn(ctx)
			d.answer(ctx, d.collect(first))
			if hasTurn {
				<-d.turn
			}
		}
	}
}

// awaitTurn makes the batches follow the load. Few look-ups do not wait: each connection takes what is
// there. Where there are more, they wait while they would only split a batch: until the query under way
// is answered, takes longer than queries do, or leaves a whole batch waiting. hasTurn tells the first case.
func (d *database) awaitTurn(ctx context.Context) (hasTurn bool) {
	select {
	case d.turn <- struct{}{}:
		return true
	default:
	}
	if len(d.waiting) >= maxBatch || d.asking.Load() <= d.connections {
		return false
	}
	patience := time.NewTimer(min(time.Duration(d.usual.Load()), maxPatience))
	defer patience.Stop()
	select {
	case d.turn <- struct{}{}:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	return false
}

// collect adds to the first look-up those that wait already, less those whose check has given up.
func (d *database) collect(first *lookup) []*lookup {
	batch := []*lookup{first}
	for len(batch) < maxBatch {
		select {
		case next := <-d.waiting:
			if next.ctx.Err() == nil {
				batch = append(batch, next)
			}
		default:
			return batch
		}
	}
	return batch
}

func (d *database) answer(ctx context.Context, batch []*lookup) {
	tokens := make([]string, len(batch))
	for i, l := range batch {
		tokens[i] = l.token
	}
	ctx, cancel := context.WithTimeout(ctx, d.budget) // then the query is cancelled at the server too
	defer cancel()
	started := time.Now()
	rows, err := d.ask(ctx, tokens)
	took := time.Since(started)
	d.metrics.countQuery(len(batch), took, err)
	if err == nil {
		d.usual.Store((7*d.usual.Load() + int64(took)) / 8)
	}
	d.note(err)
	for _, l := range batch {
		l.row, l.err = rows[l.token], err
		l.began, l.ended, l.batch = started, started.Add(took), len(batch)
		close(l.done)
	}
}

// note logs a failure and a recovery once each, and has the tables looked for anew when they changed.
func (d *database) note(err error) {
	switch {
	case d.query.Load() == nil:
		return // discover tells
	case err == nil:
		if d.failing.Load() && d.failing.Swap(false) {
			d.state.note(nil)
			d.log.Info("database answers again")
		}
		return
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && (pgErr.Code == "42P01" || pgErr.Code == "42703") { // undefined table, undefined column
		select {
		case d.missing <- struct{}{}:
		default:
		}
	}
	if !d.failing.Swap(true) {
		d.state.note(err)
		d.log.Warn("database query failed", "error", err)
	}
}

func (d *database) ask(ctx context.Context, tokens []string) (map[string]*sessionRow, error) {
	query := d.query.Load()
	if query == nil {
		if fault := d.fault.Load(); fault != nil {
			return nil, *fault
		}
		return nil, errors.New("not connected yet")
	}
	return d.send(ctx, *query, tokens)
}

// send sends the query, and a second time when the connection turned out to be dead, which a server that
// was restarted leaves in the pool, or a pooler to have lost the prepared statement: it only reads.
func (d *database) send(ctx context.Context, query sessionQuery, tokens []string) (map[string]*sessionRow, error) {
	rows, err := d.sendOnce(ctx, query, tokens)
	switch {
	case err == nil || ctx.Err() != nil || isLagging(err):
	case isStatementLost(err):
		if !d.unnamed.Swap(true) {
			d.log.Info("the way to the database does not keep prepared statements, as a connection pooler; going on without", "error", err)
		}
		rows, err = d.sendOnce(ctx, query, tokens)
	case isConnectionLost(err):
		d.pool.Reset()
		rows, err = d.sendOnce(ctx, query, tokens)
	}
	return rows, withoutConnectionString(err)
}

func (d *database) sendOnce(ctx context.Context, query sessionQuery, tokens []string) (map[string]*sessionRow, error) {
	text, argument := query.many, any(tokens)
	if len(tokens) == 1 {
		text, argument = query.one, tokens[0]
	}
	if d.maxLag > 0 {
		return d.askNear(ctx, text, argument, len(tokens))
	}
	// Prepared, a batch costs PostgreSQL little more than half: there is nothing to parse and to plan.
	mode := pgx.QueryExecModeCacheStatement
	if d.unnamed.Load() {
		mode = pgx.QueryExecModeExec
	}
	rows, err := d.pool.Query(ctx, text, mode, argument)
	if err != nil {
		return nil, err
	}
	return readSessions(rows, len(tokens))
}

// readSessions reads the session query's answer for so many tokens.
func readSessions(rows pgx.Rows, tokens int) (map[string]*sessionRow, error) {
	defer rows.Close()
	found := make(map[string]*sessionRow, tokens)
	for rows.Next() {
		var token, userID string
		var expires *float64
		var email, name *string
		if err := rows.Scan(&token, &expires, &userID, &email, &name); err != nil {
			return nil, err
		}
		if expires == nil {
			continue // without an expiry it is no session
		}
		if _, known := found[token]; known { // nobody knows whose it is then
			found[token] = nil
			continue
		}
		found[token] = &sessionRow{expiresAt: timeOf(*expires), userID: userID, email: valueOf(email), name: valueOf(name)}
	}
	return found, rows.Err()
}

// timeOf reads seconds since 1970, bounded to what a calendar can show: PostgreSQL also has ±infinity.
func timeOf(seconds float64) time.Time {
	seconds = min(max(seconds, minNumericDate), maxNumericDate)
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1e3)
}

func valueOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// isConnectionLost tells a dead connection, or one that a stopping server takes away (SQLSTATE class 57P), from a refused query.
func isConnectionLost(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return len(pgErr.Code) == 5 && pgErr.Code[:3] == "57P"
	}
	_, isConnecting := errors.AsType[*pgconn.ConnectError](err)
	return !isConnecting
}

// isStatementLost tells that the server does not know the statement that was prepared on this connection,
// or knows it from somebody else: a pooler hands the connection's transactions to several servers' ones.
func isStatementLost(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == "26000" || pgErr.Code == "42P05") // invalid_sql_statement_name, duplicate_prepared_statement
}

// withoutConnectionString leaves out of a connection's error what a connection string holds, user and
// database, and what only pgx knows the meaning of, and makes one line of it: pgx tries with and without TLS, and often says the same twice.
func withoutConnectionString(err error) error {
	connectErr, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok || connectErr.Unwrap() == nil {
		return err
	}
	lines := strings.Split(strings.ReplaceAll(connectErr.Unwrap().Error(), "ValidateConnect failed: ", ""), "\n")
	slices.Sort(lines)
	return errors.New(withAdvice(strings.Join(slices.Compact(lines), "; ")))
}

// discover finds the tables when the database is first reached, and again when they have changed.
func (d *database) discover(ctx context.Context) {
	said := ""
	for {
		err := d.findTables(ctx)
		switch {
		case err == nil:
			said = ""
			d.state.note(nil)
			select {
			case <-ctx.Done():
				return
			case <-d.missing:
			}
			continue
		case ctx.Err() != nil:
			return
		case err.Error() != said: // once, and not every second
			said = err.Error()
			d.fault.Store(&err)
			d.state.note(err)
			d.log.Warn("database not usable yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(discoveryInterval):
		}
	}
}

// findTables looks at the catalogue, and proves with an empty question that the query works.
func (d *database) findTables(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	tables, err := readCatalogue(ctx, d.pool)
	if err != nil {
		return withoutConnectionString(err)
	}
	found, err := findSchema(tables, d.names, d.schema)
	if err != nil {
		return err
	}
	if err := d.lookForHidden(ctx, found, d.pool); err != nil {
		return err
	}
	query := found.query()
	if _, err := d.send(ctx, query, []string{}); err != nil {
		return err
	}
	d.query.Store(&query)
	d.ready.Store(true)
	d.log.Info("database ready", "sessions", found.session.String(), "users", found.user.String())
	if statement := found.missingIndex(); statement != "" {
		d.log.Warn("the session table has no index on its token, so each check reads the whole table", "create", statement)
	}
	return nil
}
