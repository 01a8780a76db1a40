// Package pool keeps connections for a batcher of sessions: made aside, replaced before they are given up. It imports
// session. It does not know what a connection leads to, or how it is made.
package pool

import (
	"context"
	"net/netip"
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
		} else if k.closing == 0 && len(k.held) == good {
			// its place is needed, and there is nothing that becomes free by itself
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

// Connections is how many are open.
func (k *Keeper[T, C, A]) Connections() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held) + k.closing
}

// Each calls visit for each connection that is up, and says whether it is being replaced.
func (k *Keeper[T, C, A]) Each(visit func(connection C, isRetiring bool)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		visit(h.connection, h.retiring)
	}
}
