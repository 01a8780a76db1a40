package session

import (
	"context"
	"sync/atomic"
	"time"
)

// lookup is one check's question for one token. A is what the store answers with, a *Row for one; its zero value says
// that there is none.
type lookup[A any] struct {
	ctx   context.Context
	token string

	done     chan struct{}
	answered atomic.Bool // set by whoever writes what follows, before done is closed
	Row      A           // the zero value when there is no such session; valid once done is closed
	Err      error       // valid once done is closed

	Began, Ended time.Time // of its query, for traces; valid once done is closed
	Batch        int       // how many shared it

	flights  atomic.Int32 // queries under way that ask for it
	attempts atomic.Int32 // how often it was put back
	queued   atomic.Bool  // it waits to be asked again
}

// isPending tells that somebody still waits for its answer.
func (l *lookup[A]) isPending() bool { return !l.answered.Load() && l.ctx.Err() == nil }

// finish gives the answer, unless there is one already.
func (l *lookup[A]) finish(row A, err error, began time.Time, took time.Duration, batch int) {
	if !l.answered.CompareAndSwap(false, true) {
		return
	}
	l.Row, l.Err = row, err
	l.Began, l.Ended, l.Batch = began, began.Add(took), batch
	close(l.done)
}
