package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/postgres/answer"
	"extauthz/extauthz/internal/session/postgres/fault"
	"extauthz/extauthz/internal/session/postgres/lag"
	"extauthz/extauthz/internal/session/postgres/network"
	"extauthz/extauthz/internal/session/postgres/tables"
	"extauthz/extauthz/internal/session/postgres/target"
)

const (
	// OpenTimeout bounds how long it takes until a connection is good, whatever the number of addresses.
	OpenTimeout = 15 * time.Second
	// closeTimeout bounds how long a server is waited for that is to end a connection, or to cancel its query.
	closeTimeout = time.Second
)

// Connection is one connection to PostgreSQL, good for session queries. It is used by one goroutine at a time, except
// for interrupt.
type Connection struct {
	database *Store
	Conn     *pgx.Conn
	dials    *network.Dials
	target   *target.Target
	query    *foundQuery
	host     string // the name that led to address; empty for an address that was given as such, or a Unix socket
	address  netip.Addr
	useful   atomic.Bool // it has answered a check
}

// dial connects to a server that may be asked.
func (d *Store) dial(ctx context.Context, to *target.Target) (*Connection, error) {
	config := to.Config.Copy()
	if d.maxLag == 0 {
		config.ValidateConnect = onlyPrimary(config.ValidateConnect)
	} else {
		config.ValidateConnect = d.onlyNear(config.ValidateConnect)
	}
	c := &Connection{database: d, target: to, dials: network.NewDials()}
	config.DialFunc = c.dials.Dial
	origins := network.NewOrigins(config.LookupFunc)
	config.LookupFunc = origins.Look
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		c.dials.End()
		return nil, fault.WithoutConnectionString(err)
	}
	c.Conn, c.address = conn, network.AddressOf(conn.PgConn().Conn())
	if host := origins.Hosts[c.address]; net.ParseIP(host) == nil {
		c.host = host
	}
	return c, nil
}

// Open makes a connection and proves that it answers session queries. It finds the tables first where that is to be
// done.
func (d *Store) Open(ctx context.Context, to *target.Target) (*Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, OpenTimeout)
	defer cancel()
	c, err := d.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.Interrupt)
	defer stop()
	if err := c.prove(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// prove finds the tables if they are not known, and asks questions that have no answer.
func (c *Connection) prove(ctx context.Context) error {
	defer c.useful.Store(false)
	d := c.database
	if c.query = d.Query.Load(); c.query != nil && c.query.target.IsSame(c.target) {
		return c.try()
	}
	found, err := d.findTables(ctx, c.Conn, c.target)
	if err != nil {
		return err
	}
	c.query = &foundQuery{found.Query(), c.target}
	if err := c.try(); err != nil {
		return err
	}
	d.inUse.Store(&targetInUse{found.InUse(d.wanted.Names), c.target})
	d.Query.Store(c.query)
	d.ready.Store(true)
	d.tellTables(found)
	return nil
}

// try asks both queries, which prepares them too.
func (c *Connection) try() error {
	for _, tokens := range [][]string{{}, {""}} {
		if _, err := c.Ask(tokens); err != nil {
			if lost, is := errors.AsType[*session.LostError](err); is {
				return lost.Unwrap()
			}
			return err
		}
	}
	return nil
}

// Interrupt implements [link].
func (c *Connection) Interrupt() { c.Conn.PgConn().Conn().SetDeadline(time.Unix(1, 0)) }

// Close ends the connection, and waits until the server has ended it too, so that it no longer counts against a limit
// there; but not longer than closeTimeout. A query that is under way there is cancelled.
func (c *Connection) Close() {
	defer c.dials.End()
	inner := c.Conn.PgConn()
	if c.Conn.IsClosed() { // pgx cancels what is under way, and waits for the server, both aside
		select {
		case <-inner.CleanupDone():
		case <-time.After(closeTimeout):
		}
		return
	}
	network := inner.Conn()
	network.SetDeadline(time.Now().Add(closeTimeout))
	inner.Frontend().Send(&pgproto3.Terminate{})
	if inner.Frontend().Flush() == nil {
		io.Copy(io.Discard, network) // until the server closes it, which it does last
	}
}

// Ask implements [link]. A statement that a pooler has lost is sent whole from then on.
func (c *Connection) Ask(tokens []string) (map[string]*session.Row, error) {
	rows, err := c.askOnce(tokens)
	if fault.IsStatementLost(err) && !c.Conn.IsClosed() {
		if !c.database.Unnamed.Swap(true) {
			go c.database.tellUnnamed(err)
		}
		rows, err = c.askOnce(tokens)
	}
	if err != nil {
		return nil, c.judge(err)
	}
	c.useful.Store(true)
	return rows, nil
}

func (c *Connection) askOnce(tokens []string) (map[string]*session.Row, error) {
	text, argument := c.query.Many, any(tokens)
	if len(tokens) == 1 {
		text, argument = c.query.One, tokens[0]
	}
	if c.database.maxLag > 0 {
		return c.askNear(text, argument, len(tokens))
	}
	// Prepared, a batch costs PostgreSQL little more than half: there is nothing to parse and to plan.
	mode := pgx.QueryExecModeCacheStatement
	if c.database.Unnamed.Load() {
		mode = pgx.QueryExecModeExec
	}
	// Without a context's end: the batcher interrupts what takes too long, and pgx need not watch each query.
	rows, err := c.Conn.Query(context.Background(), text, mode, argument)
	if err != nil {
		return nil, err
	}
	found, isStandby, err := answer.Read(rows, len(tokens), &c.query.Query)
	if err == nil && isStandby {
		return nil, errStandby
	}
	return found, err
}

// judge tells by a *[session.LostError] that the connection, or the server behind it, is at fault and not the question.
func (c *Connection) judge(err error) error {
	pgErr, isServers := errors.AsType[*pgconn.PgError](err)
	switch {
	case c.Conn.IsClosed() || errors.Is(err, errStandby) || lag.TooFar(err) != nil: // another host may be asked
	case errors.Is(err, tables.ErrRowsMayHide):
		c.database.Query.CompareAndSwap(c.query, nil)
	case !isServers:
		return err // an answer that cannot be read
	case fault.IsQueryOutdated(pgErr.Code): // the tables are looked for anew
		c.database.Query.CompareAndSwap(c.query, nil)
	case !fault.IsServersState(pgErr.Code):
		return err
	}
	if fault.IsTimeout(err) {
		err = fmt.Errorf("no answer within %s", c.database.budget)
	}
	return session.Lost(err)
}

// Target implements [pool.Connection].
func (c *Connection) Target() *target.Target { return c.target }

// Host implements [pool.Connection].
func (c *Connection) Host() string { return c.host }

// Address implements [pool.Connection].
func (c *Connection) Address() netip.Addr { return c.address }

// IsUseful implements [pool.Connection].
func (c *Connection) IsUseful() bool { return c.useful.Load() }
