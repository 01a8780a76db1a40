package pool

import (
	"context"
	"math/rand/v2"
	"time"

	"extauthz/extauthz/internal/session"
)

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

// jittered is so long, a quarter more or less.
func jittered(d time.Duration) time.Duration { return d - d/4 + rand.N(d/2+1) }
