// Package pool keeps connections for a batcher of sessions: made aside, replaced before they are given up. It imports
// session. It does not know what a connection leads to, or how it is made.
package pool

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/session"
)

const (
	// firstPause and lastPause bound the pauses between attempts to connect while there is no connection. They double.
	firstPause, lastPause = 20 * time.Millisecond, 500 * time.Millisecond
	// morePause and lastMorePause are the same where there is one, and another would help.
	morePause, lastMorePause = 100 * time.Millisecond, 30 * time.Second
	// impatience is after how long, while there is no connection, another one is tried beside the attempt under way.
	impatience = 300 * time.Millisecond
	// grace is how long after the last connection was lost checks wait for the next one, within their own budget, before
	// they are answered at once.
	grace = time.Second
	// fullGrace is the same where there is no place for another connection: the server may not have freed the lost one's
	// yet.
	fullGrace = 5 * time.Second
	// connectionAge is how long a connection is used, less a quarter at most, by chance.
	connectionAge = 30 * time.Minute
	// replaceTimeout is how long a connection to an address that its name no longer has is used, while no other can be
	// made.
	replaceTimeout = 20 * time.Second
)

// Target is where connections lead to.
type Target[T any] interface {
	// IsSame tells whether a connection to the other leads there too.
	IsSame(other T) bool
}

// Connection is one connection.
type Connection[T, A any] interface {
	comparable
	session.Link[A]
	// Close ends it, and waits, for a second or so at most, until its place is free.
	Close()
	Target() T
	// Host is the name that led to Address, empty where no name did.
	Host() string
	Address() netip.Addr
	// IsUseful tells whether it has answered a check.
	IsUseful() bool
}

// held is a connection that is up.
type held[C any] struct {
	connection C
	retired    chan struct{} // closed when it is to take no further batch
	retiring   bool
	renewal    int // see Keeper.renewal
	expires    time.Time
	gone       time.Time // since when its address is none of its name's; zero while it is
}

// Keeper keeps connections for a batcher: one always, more as the load asks, never more than its limit, those that
// are being made or closed included. Connections are made aside, and join when they are good. What is to be replaced
// is replaced before it is given up, where the limits allow two.
type Keeper[T Target[T], C Connection[T, A], A any] struct {
	*session.Batcher[A]
	Open    func(context.Context, T) (C, error)
	Changed func(error) // called with what an attempt came to that matters to checks
	// IsFull tells that the server may have no more connections.
	IsFull  func(error) bool
	Refused func(error, int) // called when a connection could not be made, with how many there are

	kicked   chan struct{}
	isWanted atomic.Bool // another one would help

	mu      sync.Mutex
	target  T
	held    map[*held[C]]struct{}
	making  int
	closing int
	renewal int // Connections of an earlier one are to be replaced
	pause   time.Duration
	nextAt  time.Time // not before it is an attempt made while there is none
	more    time.Duration
	moreAt  time.Time // not before it is an attempt made while there is one
	began   time.Time // the last attempt
	lostAt  time.Time // when the last connection was lost; zero when there was none yet
	excused time.Time // when the last one was lost that had answered no check
	work    sync.WaitGroup
}

// New keeps connections to a target for a batcher.
func New[T Target[T], C Connection[T, A], A any](b *session.Batcher[A], to T) *Keeper[T, C, A] {
	return &Keeper[T, C, A]{Batcher: b, target: to, kicked: make(chan struct{}, 1), held: make(map[*held[C]]struct{}),
		Changed: func(error) {}, Refused: func(error, int) {}, IsFull: func(error) bool { return false }}
}

// kick has run look at what is to be done.
func (k *Keeper[T, C, A]) kick() {
	select {
	case k.kicked <- struct{}{}:
	default:
	}
}

// Want says that another connection would help.
func (k *Keeper[T, C, A]) Want() {
	if !k.isWanted.Swap(true) {
		k.kick()
	}
}

// Run keeps connections until ctx ends. All are closed when it returns, also by a panic.
func (k *Keeper[T, C, A]) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer k.work.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.kicked:
		case <-timer.C:
		}
		timer.Reset(k.adjust(ctx, time.Now()))
	}
}

// adjust does what is due, and returns when to look again at the latest.
func (k *Keeper[T, C, A]) adjust(ctx context.Context, now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := now.Add(time.Minute)
	at := func(t time.Time) bool {
		if t.After(now) && t.Before(next) {
			next = t
		}
		return !t.After(now)
	}
	good := 0
	var old *held[C] // one that is to be replaced
	for h := range k.held {
		switch {
		case h.retiring:
			continue
		case k.isOld(h, now):
			if old == nil || !h.gone.IsZero() {
				old = h
			}
		default:
			at(h.expires)
		}
		good++
	}
	isFree := int64(len(k.held)+k.making+k.closing) < k.Most
	switch {
	case good == 0:
		if isFree && at(k.nextAt) && (k.making == 0 || at(k.began.Add(impatience))) {
			k.make(ctx, now)
		}
	case old != nil && !old.gone.IsZero() && at(old.gone.Add(replaceTimeout)):
		k.retire(old)
		return 0
	case old != nil && k.making == 0 && at(k.moreAt):
		if isFree {
			k.make(ctx, now)
		} else if k.closing == 0 && len(k.held) == good { // its place is needed, and there is nothing that becomes free by itself
			k.retire(old)
		}
	case k.isWanted.Load() && isFree && k.making == 0 && at(k.moreAt):
		k.make(ctx, now)
	}
	return max(time.Until(next), time.Millisecond)
}

func (k *Keeper[T, C, A]) isOld(h *held[C], now time.Time) bool {
	return h.renewal != k.renewal || !h.gone.IsZero() || !now.Before(h.expires)
}

// retire has a connection take no further batch.
func (k *Keeper[T, C, A]) retire(h *held[C]) {
	if !h.retiring {
		h.retiring = true
		close(h.retired)
	}
}

// make begins an attempt to connect.
func (k *Keeper[T, C, A]) make(ctx context.Context, now time.Time) {
	k.making++
	k.began = now
	k.isWanted.Store(false)
	to, renewal := k.target, k.renewal
	k.work.Go(func() {
		var c C
		err := error(session.ErrQueryPanicked)
		k.Guard(func() { c, err = k.Open(ctx, to) })
		k.made(ctx, c, err, to, renewal)
	})
}

// made takes in what an attempt came to.
func (k *Keeper[T, C, A]) made(ctx context.Context, c C, err error, to T, renewal int) {
	tell := func() {}
	var none C
	k.mu.Lock()
	k.making--
	now := time.Now()
	if c != none {
		to = c.Target() // the connection string was read anew
	}
	switch {
	case ctx.Err() != nil || !to.IsSame(k.target):
		if c != none {
			k.close(c)
		}
	case err != nil:
		tell = k.failed(err, now)
	default:
		k.join(ctx, c, renewal, now)
		tell = func() { k.Changed(nil) }
	}
	k.mu.Unlock()
	k.kick()
	tell()
}

// join has a new connection be served, in place of one that is to be replaced.
func (k *Keeper[T, C, A]) join(ctx context.Context, c C, renewal int, now time.Time) {
	life := connectionAge - rand.N(connectionAge/4)
	h := &held[C]{connection: c, retired: make(chan struct{}), renewal: renewal, expires: now.Add(life)}
	for other := range k.held {
		if !other.retiring && k.isOld(other, now) {
			k.retire(other)
			break
		}
	}
	k.held[h] = struct{}{}
	k.more = 0
	k.Succeed()
	k.work.Go(func() {
		stop := context.AfterFunc(ctx, c.Interrupt) // nothing is waited for at the end
		defer stop()
		err := error(session.ErrQueryPanicked)
		k.Guard(func() { err = k.Serve(ctx, c, h.retired) })
		k.ended(h, err)
	})
}

// good is how many connections take batches.
func (k *Keeper[T, C, A]) good() (good int) {
	for h := range k.held {
		if !h.retiring {
			good++
		}
	}
	return good
}

// failed takes in that a connection could not be made, or was no good from its first query on. It returns what tells
// of it, to be called without the lock.
func (k *Keeper[T, C, A]) failed(err error, now time.Time) (tell func()) {
	if good := k.good(); good > 0 {
		k.more = min(max(2*k.more, morePause), lastMorePause)
		k.moreAt = now.Add(jittered(k.more))
		for h := range k.held { // for a renewal that was asked for the old connection gives way: the role may have one only
			if k.IsFull(err) && good == 1 && !h.retiring && h.renewal != k.renewal {
				k.retire(h)
			}
		}
		return func() { k.Refused(err, good) }
	}
	k.pause = min(max(2*k.pause, firstPause), lastPause)
	k.nextAt = now.Add(jittered(k.pause))
	wait := grace
	if k.IsFull(err) {
		wait = fullGrace
	}
	// While an earlier connection answers its last batch, or is being closed, its place may not be free yet.
	if len(k.held) > 0 || k.closing > 0 || !k.lostAt.IsZero() && now.Sub(k.lostAt) < wait {
		return func() { k.Refused(err, 0) }
	}
	k.Fail(err)
	return func() {
		k.Refused(err, 0)
		k.Changed(err)
	}
}

// ended takes in that a connection is no longer served: err says why, nil when it was to be so.
func (k *Keeper[T, C, A]) ended(h *held[C], err error) {
	tell := func() {}
	k.mu.Lock()
	delete(k.held, h)
	now := time.Now()
	isLast := k.good() == 0
	isUseful := err == nil || h.connection.IsUseful()
	// One that was ended before the first check came, as an idle one or by a server's restart, is as good as any; where
	// each one ends with its first query, checks are not kept waiting all the time.
	if !isUseful && isLast && now.Sub(k.excused) >= fullGrace {
		isUseful, k.excused = true, now
	}
	switch {
	case !isUseful:
		tell = k.failed(err, now)
	case isLast:
		k.lostAt, k.pause = now, 0
	}
	k.close(h.connection)
	k.mu.Unlock()
	k.kick()
	tell()
}

// close closes a connection aside. Its place is free afterwards.
func (k *Keeper[T, C, A]) close(c C) {
	k.closing++
	k.work.Go(func() {
		k.Guard(c.Close)
		k.mu.Lock()
		k.closing--
		k.mu.Unlock()
		k.kick()
	})
}

// Retarget has connections be made to another target. Those to the earlier one take no further batch, unless the
// password alone has changed. changed tells that.
func (k *Keeper[T, C, A]) Retarget(to T) (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed = !to.IsSame(k.target)
	k.target = to
	if changed {
		for h := range k.held {
			k.retire(h)
		}
		k.pause, k.nextAt, k.lostAt = 0, time.Time{}, time.Now()
	}
	k.kick()
	return changed
}

// Renew has all connections be replaced.
func (k *Keeper[T, C, A]) Renew() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewal++
	k.moreAt, k.more = time.Time{}, 0
	k.kick()
}

// Hosts are the names that connections lead to.
func (k *Keeper[T, C, A]) Hosts() (hosts []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		if h.connection.Host() != "" && !slices.Contains(hosts, h.connection.Host()) {
			hosts = append(hosts, h.connection.Host())
		}
	}
	return hosts
}

// Moved has the connections to a host be replaced whose address is none of these.
func (k *Keeper[T, C, A]) Moved(host string, addresses map[netip.Addr]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		switch {
		case h.connection.Host() != host:
		case addresses[h.connection.Address()]:
			h.gone = time.Time{}
		case h.gone.IsZero():
			h.gone = time.Now()
			k.moreAt, k.more = time.Time{}, 0
		}
	}
	k.kick()
}

// Current is where connections lead to.
func (k *Keeper[T, C, A]) Current() T {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.target
}

// Connections is how many are open.
func (k *Keeper[T, C, A]) Connections() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held) + k.closing
}

// jittered is so long, a quarter more or less.
func jittered(d time.Duration) time.Duration { return d - d/4 + rand.N(d/2+1) }

// Each calls visit for each connection that is up, and says whether it is being replaced.
func (k *Keeper[T, C, A]) Each(visit func(connection C, isRetiring bool)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		visit(h.connection, h.retiring)
	}
}
