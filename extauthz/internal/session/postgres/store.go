// Package postgres answers for sessions from PostgreSQL: each answer by a query that a primary answered after the check
// came, or a standby that is near enough. It imports session and the rooms below it, part, guard, finding and sampler.
// It does not know what a session is good for.
package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/part"
	"extauthz/extauthz/internal/sampler"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/pool"
	"extauthz/extauthz/internal/session/postgres/catalogue"
	"extauthz/extauthz/internal/session/postgres/connstring"
	"extauthz/extauthz/internal/session/postgres/fault"
	"extauthz/extauthz/internal/session/postgres/lag"
	"extauthz/extauthz/internal/session/postgres/rowsecurity"
	"extauthz/extauthz/internal/session/postgres/tables"
	"extauthz/extauthz/internal/session/postgres/target"
)

const (
	// targetInterval is the time between two looks at the connection string, where it may change.
	targetInterval = 2 * time.Second
	// namesInterval is the time between two looks at the addresses of the database's names.
	namesInterval = 20 * time.Second
	// discoveryTimeout is the time for one look at the catalogue.
	discoveryTimeout = 5 * time.Second
)

// Store answers for sessions from PostgreSQL. Every answer comes from a query that was sent after
// its question was asked, and that a primary answered, or a standby that is near enough; nothing is remembered.
// Questions that wait share a query: see [session.Batcher]. Connections are made aside: see [pool.Keeper]. All methods
// are safe for concurrent use.
type Store struct {
	wanted  tables.Wanted
	leftOut []string      // the connection string's parameters that nobody knows
	budget  time.Duration // of one query: past it nobody waits any more
	maxLag  time.Duration // of a standby; 0 for a primary only
	read    func() (string, error)
	log     *slog.Logger

	panics   *guard.Panics
	observer Observer
	State    part.State
	Batches  *session.Batcher[*session.Row]
	Keeper   *pool.Keeper[*target.Target, *Connection, *session.Row]

	inUse   atomic.Pointer[targetInUse] // once the tables are found; stays when they change
	Query   atomic.Pointer[foundQuery]  // the session query, once the tables are found
	Unnamed atomic.Bool                 // a pooler in between loses prepared statements, so the query is sent whole
	hiding  atomic.Pointer[error]       // why a session that is not found may be there; nil when none is hidden
	ready   atomic.Bool                 // it has answered once
	near    *lag.Judge                  // of the standby that answered last
	renewed chan struct{}               // wakes follow

	targetEvery, NamesEvery time.Duration // targetInterval and namesInterval, except in tests

	told   sampler.Changes // of what makes checks fail
	more   sampler.Changes // of connections that could not be made beside others
	blamed sampler.Changes // of sessions that fail alone
	source sampler.Changes // of a connection string that cannot be used

	reading  sync.Mutex // one reads the connection string at a time, so that the last one read is the one in force
	lastRead string
}

// DefaultConnections is enough for tens of thousands of session checks a second, since checks share queries.
const DefaultConnections = 4

// Config says which database to ask, and how.
type Config struct {
	URL         string                 // a connection string
	ReadURL     func() (string, error) // the one that counts by now; nil where it never changes
	Connections int                    // at most
	MaxLag      time.Duration          // of a standby; 0 for a primary only
	Names       tables.Names           // of tables and columns that are not to be looked for
	Facts       []tables.Fact          // to read beside what every check needs
	Budget      time.Duration          // of one query: past it nobody waits any more
}

// Observer is told what a store does. Its methods do not wait.
type Observer interface {
	// Asked is told of each query: how many checks shared it, and how long it took.
	Asked(batch int, took time.Duration, err error)
	// Unconnected is told of each connection that could not be made.
	Unconnected()
	// Now is the time where Waited wants it, and may be zero where it does not.
	Now() time.Time
	// Waited is told that a check waited for a query that so many shared, 0 where that is not known.
	Waited(ctx context.Context, began, ended time.Time, batch int, err error)
}

// foundQuery is the session query for the tables that were found at a target.
type foundQuery struct {
	tables.Query
	target *target.Target
}

// targetInUse is the session table that checks are answered from, and where it is.
type targetInUse struct {
	tables tables.InUse
	target *target.Target
}

// New makes the database; it does not connect yet.
func New(c Config, panics *guard.Panics, observer Observer) (*Store, error) {
	log := panics.Logger()
	to, err := target.Read(c.URL)
	if err != nil {
		return nil, err
	}
	leftOut := connstring.Unknown(c.URL)
	if len(leftOut) > 0 {
		log.Warn("the connection string has parameters that no known PostgreSQL driver has; "+
			"they are left out", "parameters", leftOut)
	}
	d := &Store{
		wanted: tables.Wanted{Names: c.Names, Facts: c.Facts}, leftOut: leftOut, budget: c.Budget, maxLag: c.MaxLag,
		read: c.ReadURL, log: log,
		panics: panics, observer: observer,
		Batches: session.NewBatcher[*session.Row](c.Budget, int64(c.Connections)),
		renewed: make(chan struct{}, 1), targetEvery: targetInterval, NamesEvery: namesInterval,
		State: part.NewState(),
	}
	d.near = lag.New(c.MaxLag, time.Now)
	d.Keeper = pool.New[*target.Target, *Connection](d.Batches, to)
	d.Keeper.Open, d.Keeper.Changed, d.Keeper.Refused = d.openAnew, d.note, d.noteRefused
	d.Keeper.IsFull = fault.IsFull
	d.Batches.Wanted, d.Batches.Outcome, d.Batches.Count = d.Keeper.Want, d.note, observer.Asked
	d.Batches.Blamed = d.noteBlamed
	d.Batches.Guard = func(work func()) bool { return d.panics.Recovered(guard.InDatabase, work) }
	return d, nil
}

// Session implements [session.Store].
func (d *Store) Session(ctx context.Context, token string) (*session.Row, error) {
	asked := d.observer.Now()
	l, err := d.Batches.Ask(ctx, token)
	switch {
	case err != nil:
		return nil, err
	case l == nil:
		d.observer.Waited(ctx, asked, d.observer.Now(), 0, ctx.Err())
		return nil, ctx.Err()
	}
	d.observer.Waited(ctx, l.Began, l.Ended, l.Batch, l.Err)
	if l.Err != nil {
		return nil, l.Err
	}
	if hiding := d.hiding.Load(); l.Row == nil && hiding != nil {
		return nil, *hiding
	}
	return l.Row, nil
}

// Connections is how many are open.
func (d *Store) Connections() int { return d.Keeper.Connections() }

// Busy is how many connections have a query under way.
func (d *Store) Busy() int64 { return d.Batches.Busy() }

// Waiting is how many checks wait for an answer.
func (d *Store) Waiting() int64 { return d.Batches.Asking.Load() }

// JudgesLag tells whether a standby may answer.
func (d *Store) JudgesLag() bool { return d.maxLag > 0 }

// IsReady tells whether the database has answered once.
func (d *Store) IsReady() bool { return d.ready.Load() }

// Part tells how the database is.
func (d *Store) Part() part.Part { return d.State.Part("database") }

// Run connects, finds the tables and answers look-ups until the context ends. No connection is left then.
func (d *Store) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { d.panics.Supervise(ctx, guard.InDatabase, d.Keeper.Run) })
	work.Go(func() { d.panics.Supervise(ctx, guard.InDatabase, d.follow) })
}

// Close answers checks at once from now on. The connections end with run.
func (d *Store) Close() { d.Batches.Fail(errors.New("the Authorizer is closed")) }

// findTables looks at the catalogue.
func (d *Store) findTables(ctx context.Context, conn *pgx.Conn, to *target.Target) (*tables.Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	listed, err := catalogue.Read(ctx, conn)
	if err != nil {
		return nil, err
	}
	var found *tables.Schema
	if before := d.inUse.Load(); before != nil && before.target.IsSame(to) {
		found, err = tables.FindAgain(&before.tables, listed, d.wanted, to.Schema)
	} else {
		found, err = tables.Find(listed, d.wanted, to.Schema)
	}
	if err != nil {
		return nil, err
	}
	return found, d.lookForHidden(ctx, found, conn)
}

// lookForHidden looks at both tables, and takes in what it finds: its error says that no session can be found.
func (d *Store) lookForHidden(ctx context.Context, found *tables.Schema, db rowsecurity.Queryer) error {
	if err := found.ReadRowSecurity(ctx, db); err != nil {
		return err
	}
	if err := found.Hidden(); err != nil {
		return err
	}
	if err := found.Security.MayHide(); err != nil {
		d.hiding.Store(&err)
	} else {
		d.hiding.Store(nil)
	}
	return nil
}
