package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/redis/master"
	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/server"
)

const (
	// maxNodes bounds a Cluster's masters.
	maxNodes = 1000
	// maxRedirects bounds how often one key is asked for elsewhere.
	maxRedirects = 4
	// slotsInterval is the time between two looks at who has which slot; failingInterval while a master fails.
	slotsInterval, failingInterval = 15 * time.Second, 500 * time.Millisecond
)

var errNotAsked = errors.New("no node has been asked")

// cluster is who has which keys (Redis Cluster specification, "Keys distribution model").
type cluster struct {
	store *Store
	table atomic.Pointer[[server.Slots]*node]
	wake  chan struct{}

	mu     sync.Mutex
	nodes  map[string]*running // by address
	looked chan struct{}       // closed by the end of the next look that has not begun yet
	err    error               // of the last look
}

// running is a node and what ends it.
type running struct {
	*node
	stop func()
}

func newCluster(s *Store) *cluster {
	return &cluster{store: s, wake: make(chan struct{}, 1), nodes: map[string]*running{}, looked: make(chan struct{})}
}

// ask waits for what is kept under a key.
func (c *cluster) ask(ctx context.Context, key string) (master.Answer, error) {
	table := c.table.Load()
	if table == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return master.Answer{}, &session.RedisError{Cause: fmt.Errorf("the Cluster's slots are not known yet: %w",
			cmp.Or(c.err, errNotAsked))}
	}
	n, question := table[server.SlotOf(key)], key
	for range maxRedirects {
		if n == nil {
			return master.Answer{}, &session.RedisError{Cause: errors.New("no master has the key's slot")}
		}
		a, err := n.ask(ctx, question)
		switch {
		case err != nil:
			return master.Answer{}, err
		case a.Outage != nil:
			c.lookSoon()
			return master.Answer{}, &session.RedisError{Cause: a.Outage}
		case a.Elsewhere == "":
			return a, nil
		case a.ForOnce:
			n, question = c.nodeAt(a.Elsewhere), master.Asking+key
		default:
			if err := c.awaitLook(ctx); err != nil {
				return master.Answer{}, err
			}
			n, question = c.table.Load()[server.SlotOf(key)], key
		}
	}
	return master.Answer{}, &session.RedisError{Cause: errors.New("the key's slot is moved about")}
}

func (c *cluster) nodeAt(address string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.nodes[address]; r != nil {
		return r.node
	}
	return nil
}

// lookSoon has the slots be looked up.
func (c *cluster) lookSoon() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// awaitLook waits for a look at the slots that begins after the call.
func (c *cluster) awaitLook(ctx context.Context) error {
	c.mu.Lock()
	looked := c.looked
	c.mu.Unlock()
	c.lookSoon()
	select {
	case <-looked:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run looks up the slots, and keeps connections to each master, until ctx ends.
func (c *cluster) run(ctx context.Context) {
	defer c.end()
	for {
		c.mu.Lock()
		looked := c.looked
		c.looked = make(chan struct{})
		c.mu.Unlock()
		err := c.look(ctx)
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		close(looked)
		pause := slotsInterval
		if err != nil || !c.store.State.IsOK() {
			pause = failingInterval
		}
		if err != nil && c.table.Load() == nil {
			c.store.note(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		case <-c.wake:
			select { // many checks may meet the same move
			case <-ctx.Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// end ends all nodes and waits for that.
func (c *cluster) end() {
	c.mu.Lock()
	all := maps.Clone(c.nodes)
	clear(c.nodes)
	c.mu.Unlock()
	for _, r := range all {
		r.stop()
	}
}

// look asks one node after the other who has which slot, and takes in the first answer.
func (c *cluster) look(ctx context.Context) error {
	o := c.store.options.Load()
	c.mu.Lock()
	addresses := append([]string(nil), o.Hosts...)
	for address := range c.nodes {
		addresses = append(addresses, address)
	}
	c.mu.Unlock()
	var last error
	for _, address := range addresses {
		ranges, err := server.AskSlots(ctx, o, address)
		if err == nil {
			c.take(ctx, o, ranges)
			return nil
		}
		last = err
	}
	return last
}

// take puts a table of slots in force. Nodes that have none any more are ended once nobody is sent to them.
func (c *cluster) take(ctx context.Context, o *redisurl.Options, ranges []server.SlotRange) {
	table := new([server.Slots]*node)
	used := map[string]*running{}
	c.mu.Lock()
	for _, r := range ranges {
		one := used[r.Master]
		if one == nil && len(used) < maxNodes {
			one = c.nodes[r.Master]
			if one == nil || !one.keeper.Current().Options.IsSame(o) {
				one = c.start(ctx, &master.Target{Options: o, At: []string{r.Master}})
			} else {
				one.keeper.Retarget(&master.Target{Options: o, At: []string{r.Master}}) // the password may be another
			}
			used[r.Master] = one
		}
		if one != nil {
			for i := r.First; i <= r.Last; i++ {
				table[i] = one.node
			}
		}
	}
	before := c.nodes
	c.nodes = used
	c.table.Store(table)
	c.mu.Unlock()
	for address, r := range before {
		if used[address] != r {
			c.store.forget(r.node)
			go r.stop()
		}
	}
}

// start keeps connections to a master.
func (c *cluster) start(ctx context.Context, to *master.Target) *running {
	n := c.store.newNode(to, c.store.opener.Open)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.run(ctx)
	}()
	return &running{n, func() {
		n.batches.Fail(errors.New("the master has left the Cluster"))
		cancel()
		<-done
	}}
}
