package redis

import (
	"context"
	"strings"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/pool"
	"extauthz/extauthz/internal/session/redis/master"
	"extauthz/extauthz/internal/session/redis/server"
)

// connectionsPerNode bounds the connections to one master. It answers one command after another, so that a few are
// enough for one to be silent and another to be asked.
const connectionsPerNode = 4

// node is one master, as checks ask it. Questions that wait share a round trip: see [session.Batcher]; connections are
// made aside: see [pool.Keeper].
type node struct {
	store   *Store
	batches *session.Batcher[master.Answer]
	keeper  *pool.Keeper[*master.Target, *master.Connection, master.Answer]
}

// newNode asks a master that is found by open.
func (s *Store) newNode(to *master.Target, open func(context.Context, *master.Target) (*master.Connection, error)) *node {
	n := &node{store: s, batches: session.NewBatcher[master.Answer](s.budget, connectionsPerNode)}
	n.keeper = pool.New[*master.Target, *master.Connection](n.batches, to)
	n.keeper.Open, n.keeper.Changed, n.keeper.Refused = open, n.note, s.noteRefused
	n.keeper.IsFull = func(err error) bool { return strings.Contains(err.Error(), "max number of clients") }
	n.batches.Wanted, n.batches.Outcome, n.batches.Count = n.keeper.Want, n.note, s.observer.Asked
	n.batches.Guard = func(work func()) bool { return s.panics.Recovered(guard.InRedis, work) }
	return n
}

// ask waits for what is kept under a key, as of after the call.
func (n *node) ask(ctx context.Context, key string) (master.Answer, error) {
	asked := n.store.observer.Now()
	l, err := n.batches.Ask(ctx, key)
	switch {
	case err == session.ErrOverloaded:
		return master.Answer{}, err
	case err != nil:
		return master.Answer{}, &session.RedisError{Cause: err}
	case l == nil:
		n.store.observer.Waited(ctx, asked, n.store.observer.Now(), 0, ctx.Err())
		return master.Answer{}, ctx.Err()
	}
	n.store.observer.Waited(ctx, l.Began, l.Ended, l.Batch, l.Err)
	if l.Err != nil {
		return master.Answer{}, &session.RedisError{Cause: l.Err}
	}
	return l.Row, nil
}

// note takes in what a round trip, or an attempt to connect that matters to checks, came to.
func (n *node) note(err error) {
	if err == nil && n.store.State.IsOK() {
		return
	}
	n.store.noteNode(n, err)
}

// run keeps connections until ctx ends.
func (n *node) run(ctx context.Context) { n.store.panics.Supervise(ctx, guard.InRedis, n.keeper.Run) }

// resolveAnew has connections be replaced whose address is no longer one of their name's. A name that cannot be
// resolved now has not moved.
func (n *node) resolveAnew(ctx context.Context) {
	for _, host := range n.keeper.Hosts() {
		found := server.LookUp(ctx, host)
		if len(found) > 0 {
			n.keeper.Moved(host, found)
		}
	}
}
