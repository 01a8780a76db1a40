// Package redis answers for sessions from Better Auth's secondaryStorage in Redis: each answer by a master, to a question
// that it received after the check came; the session first, its user's marker second. It imports session, pool, the rooms
// below it, part, finding, guard and sampler. It does not know what a session is good for.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/part"
	"extauthz/extauthz/internal/sampler"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/redis/master"
	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/secondary"
)

// Store answers for sessions from Redis. Nothing is remembered. All methods are safe for concurrent use.
type Store struct {
	opener   *master.Opener
	budget   time.Duration
	read     func() (string, error)
	facts    []secondary.Fact
	absent   []bool // of the facts those that Redis does not hold; nil for none
	log      *slog.Logger
	panics   *guard.Panics
	observer Observer
	State    part.State

	options atomic.Pointer[redisurl.Options]
	direct  *node    // nil with a Cluster
	cluster *cluster // nil without one
	ready   atomic.Bool
	renewed chan struct{} // wakes follow

	mu     sync.Mutex
	faults map[*node]error // of the nodes that fail

	told    sampler.Changes // of what makes checks fail
	more    sampler.Changes // of connections that could not be made beside others
	refused sampler.Changes // of values that are no sessions
	source  sampler.Changes // of a URL that cannot be used

	reading  sync.Mutex // one reads the URL at a time, so that the last one read is the one in force
	lastRead string
}

// Config says which Redis to ask, and how.
type Config struct {
	URL     string
	ReadURL func() (string, error) // the one that counts by now; nil where it never changes
	Keys    secondary.Keys
	Facts   []secondary.Fact // to read beside what every check needs
	Budget  time.Duration    // of one round trip: past it nobody waits any more
}

// Observer is told what a store does. Its methods do not wait.
type Observer interface {
	// Asked is told of each round trip: how many questions shared it, and how long it took.
	Asked(batch int, took time.Duration, err error)
	// Unconnected is told of each connection that could not be made.
	Unconnected()
	// Now is the time where Waited wants it, and may be zero where it does not.
	Now() time.Time
	// Waited is told that a check waited for a round trip that so many shared, 0 where that is not known.
	Waited(ctx context.Context, began, ended time.Time, batch int, err error)
}

// New makes the store; it does not connect yet.
func New(c Config, panics *guard.Panics, observer Observer) (*Store, error) {
	o, err := redisurl.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opener: &master.Opener{Keys: c.Keys, Budget: c.Budget}, budget: c.Budget, read: c.ReadURL,
		log: panics.Logger(), panics: panics, observer: observer,
		State: part.NewState(), renewed: make(chan struct{}, 1), faults: map[*node]error{},
	}
	if s.read == nil && o.TLS != nil { // the files that it names may be renewed
		s.read = func() (string, error) { return c.URL, nil }
	}
	s.facts = c.Facts
	for i, fact := range s.facts {
		if fact.Of == "" {
			if s.absent == nil {
				s.absent = make([]bool, len(s.facts))
			}
			s.absent[i] = true
		}
	}
	if len(o.Unknown) > 0 {
		s.log.Warn("the URL of Redis has unknown parameters; they are ignored", "parameters", o.Unknown)
	}
	s.options.Store(o)
	switch o.Mode {
	case redisurl.Cluster:
		s.cluster = newCluster(s)
	case redisurl.Sentinel:
		s.direct = s.newNode(&master.Target{Options: o, At: nil}, s.openMaster)
	default:
		s.direct = s.newNode(&master.Target{Options: o, At: o.Hosts}, s.openAnew)
	}
	return s, nil
}

// Session implements [session.Store]. Better Auth's sign-out deletes the session; where it ends several at once, it sets
// the marker first and deletes afterwards. So the session is asked for first, and the marker when its answer is there.
func (s *Store) Session(ctx context.Context, token string) (*session.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !secondary.IsToken(token) {
		return nil, nil
	}
	kept, err := s.ask(ctx, s.opener.Keys.Session(token))
	switch {
	case err != nil:
		return nil, err
	case kept.Fault != nil:
		return nil, s.refuse(kept.Fault)
	case kept.Text == "":
		return nil, nil
	}
	found, err := secondary.Read(kept.Text, token, s.facts...)
	if err != nil {
		return nil, s.refuse(err)
	}
	for _, key := range s.opener.Keys.Markers(found.UserID) {
		marker, err := s.ask(ctx, key)
		if err != nil {
			return nil, err
		}
		if marker.Fault != nil {
			return nil, s.refuse(fmt.Errorf("its user's marker: %w", marker.Fault))
		}
		revoked, err := found.IsRevoked(marker.Text)
		switch {
		case err != nil:
			return nil, s.refuse(err)
		case revoked:
			return nil, session.ErrRevoked
		}
	}
	return &session.Row{
		ExpiresAt: found.ExpiresAt, UserID: found.UserID, Email: found.Email, Name: found.Name,
		BannedUntil: found.BannedUntil, Facts: found.Facts, Absent: s.absent,
	}, nil
}

// ask waits for what is kept under a key.
func (s *Store) ask(ctx context.Context, key string) (master.Answer, error) {
	if s.cluster != nil {
		return s.cluster.ask(ctx, key)
	}
	a, err := s.direct.ask(ctx, key)
	if err == nil && a.Outage != nil || a.Elsewhere != "" {
		return master.Answer{}, &session.RedisError{Cause: master.ErrOneOfMany}
	}
	return a, err
}

// refuse says that a value is no session, and logs it now and then.
func (s *Store) refuse(why error) error {
	if s.refused.IsNew(why.Error()) {
		s.log.Warn("a value in Redis is not a session as Better Auth writes it; its checks are refused", "why", why)
	}
	return &session.RefusedError{Why: why.Error()}
}

// Connections is how many are open.
func (s *Store) Connections() (sum int) {
	s.each(func(n *node) { sum += n.keeper.Connections() })
	return sum
}

// Busy is how many connections have a question under way.
func (s *Store) Busy() (sum int64) {
	s.each(func(n *node) { sum += n.batches.Busy() })
	return sum
}

// Waiting is how many questions wait for an answer.
func (s *Store) Waiting() (sum int64) {
	s.each(func(n *node) { sum += n.batches.Asking.Load() })
	return sum
}

// each calls visit for each node.
func (s *Store) each(visit func(*node)) {
	if s.direct != nil {
		visit(s.direct)
		return
	}
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	for _, r := range s.cluster.nodes {
		visit(r.node)
	}
}

// IsReady tells whether Redis has answered once.
func (s *Store) IsReady() bool { return s.ready.Load() }

// Part tells how Redis is.
func (s *Store) Part() part.Part { return s.State.Part("redis") }

// Run connects and answers until the context ends. No connection is left then.
func (s *Store) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	if s.cluster != nil {
		work.Go(func() { s.panics.Supervise(ctx, guard.InRedis, s.cluster.run) })
	} else {
		work.Go(func() { s.direct.run(ctx) })
	}
	work.Go(func() { s.panics.Supervise(ctx, guard.InRedis, s.follow) })
}

// Close answers checks at once from now on. The connections end with Run.
func (s *Store) Close() {
	s.each(func(n *node) { n.batches.Fail(errors.New("the Authorizer is closed")) })
}

// Refresh replaces all connections, by the URL and the addresses as they are now. It does not wait.
func (s *Store) Refresh() {
	select {
	case s.renewed <- struct{}{}:
	default:
	}
}

// noteNode takes in how a node is.
func (s *Store) noteNode(n *node, err error) {
	s.mu.Lock()
	if err != nil {
		s.faults[n] = err
	} else {
		delete(s.faults, n)
		for _, other := range s.faults {
			err = other
			break
		}
	}
	s.mu.Unlock()
	s.note(err)
}

// forget leaves a node out of account that is asked no more.
func (s *Store) forget(n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.faults, n)
}

// note takes in how Redis is. The state is changed first.
func (s *Store) note(err error) {
	if err == nil {
		s.ready.Store(true)
		if s.State.Note(nil) && s.told.IsNew("") {
			s.log.Info("redis answers")
		}
		return
	}
	s.State.Note(err)
	if s.told.IsNew(err.Error()) {
		s.log.Warn("redis cannot be reached; retrying", "error", err)
	}
}

// noteRefused takes in that a connection could not be made, beside so many that there are.
func (s *Store) noteRefused(err error, connections int) {
	s.observer.Unconnected()
	if connections > 0 && s.more.IsNew(err.Error()) {
		s.log.Warn("no further connection to Redis can be made; using the present ones",
			"connections", connections, "error", err)
	}
}
