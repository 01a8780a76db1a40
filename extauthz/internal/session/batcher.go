package session

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// MaxBatch bounds how many tokens one query asks for.
	MaxBatch = 512
	// maxDelay bounds how long a query that is under way keeps the next one waiting.
	maxDelay = 10 * time.Millisecond
	// maxWaiting bounds how many checks wait for a connection; past it they are answered with 503 at once. Each takes
	// some 10 KiB meanwhile.
	maxWaiting = 1 << 13
)

// Batcher answers questions for sessions over the connections that are up. Questions that wait share a query. It knows
// nothing of how connections are made.
//
// Invariant: a question that was taken in and has no answer yet is in exactly one of these places: among those that
// wait, in a query under way, or (only while a query that asks for it is slow) in both. A query that ends without an
// answer puts its questions back, unless another query asks for them too. So as long as one connection answers, no
// question is left without an answer because another connection is silent, dies, or cannot be made. A question gets
// the first answer that comes, and each answer is to a query that began after the question was taken in. A query that
// fails by one of its questions is asked again piece by piece, all of which counts as one query under way, so that it
// fails that question alone.
//
// All methods are safe for concurrent use.
type Batcher[A any] struct {
	budget  time.Duration // of one query: past it nobody waits any more
	Most    int64         // connections
	Wanted  func()        // called when another connection would help; must not wait
	Outcome func(error)   // called with what each query came to, nil for an answer
	Blamed  func(error)   // called with why a question alone has no answer, where others would have
	Count   func(batch int, took time.Duration, err error)
	Guard   func(work func()) (panicked bool)

	Waiting chan *lookup[A]
	again   chan *lookup[A]         // those that were put back; they go first
	turn    chan struct{}           // held by a query that is under way, unless it takes longer than most do
	average atomic.Int64            // how long a query takes, in nanoseconds, smoothed
	Asking  atomic.Int64            // checks that wait for an answer, asked for or not
	Up      atomic.Int64            // connections that are served
	idle    atomic.Int64            // of them, those without a query
	failure atomic.Pointer[failure] // why nothing can be asked, while that is so
	hedges  allowance
}

// failure is why nothing can be asked.
type failure struct{ err error }

// NewBatcher answers questions within a budget each, over so many connections at most.
func NewBatcher[A any](budget time.Duration, most int64) *Batcher[A] {
	return &Batcher[A]{
		budget: budget, Most: most,
		Wanted: func() {}, Outcome: func(error) {}, Blamed: func(error) {}, Count: func(int, time.Duration, error) {},
		Guard:   func(work func()) bool { work(); return false },
		Waiting: make(chan *lookup[A], maxWaiting),
		again:   make(chan *lookup[A], maxWaiting+most*MaxBatch),
		turn:    make(chan struct{}, 1),
		hedges:  allowance{most: float64(3 * most)}, // a connection whose every query is slow needs one each time
	}
}

var (
	ErrOverloaded    = errors.New("too many checks wait for the database")
	ErrQueryPanicked = errors.New("a panic in the query; see the log")
	errGivenUp       = errors.New("its check has given up")
)

// Ask waits for the answer to one question, until ctx ends; then it returns nil. The answer is in the lookup.
func (b *Batcher[A]) Ask(ctx context.Context, token string) (*lookup[A], error) {
	l := &lookup[A]{ctx: ctx, token: token, done: make(chan struct{})}
	if failure := b.failure.Load(); failure != nil {
		return nil, failure.err
	}
	asking := b.Asking.Add(1)
	defer b.Asking.Add(-1)
	select {
	case b.Waiting <- l:
	default:
		return nil, ErrOverloaded
	}
	if up := b.Up.Load(); up < b.Most && asking > up && b.idle.Load() == 0 {
		b.Wanted()
	}
	select {
	case <-l.done:
		return l, nil
	case <-ctx.Done():
		return nil, nil
	}
}

// Busy is how many connections have a query under way.
func (b *Batcher[A]) Busy() int64 { return max(0, b.Up.Load()-b.idle.Load()) }

// Fail answers all that wait, and all that come until succeed, with an error.
func (b *Batcher[A]) Fail(err error) {
	b.failure.Store(&failure{err})
	now := time.Now()
	var none A
	for {
		select {
		case l := <-b.again:
			l.queued.Store(false)
			l.finish(none, err, now, 0, 0)
		case l := <-b.Waiting:
			l.finish(none, err, now, 0, 0)
		default:
			return
		}
	}
}

// Succeed takes in questions again.
func (b *Batcher[A]) Succeed() { b.failure.Store(nil) }

// Serve answers one batch after another on a link, until the link is lost, which it returns, or retired is closed or
// ctx ends, which is nil. A batch that is under way is answered first.
func (b *Batcher[A]) Serve(ctx context.Context, link Link[A], retired <-chan struct{}) error {
	w := &worker[A]{Batcher: b, link: link}
	b.Up.Add(1)
	defer b.Up.Add(-1)
	for {
		first := b.next(ctx, retired)
		if first == nil {
			return nil
		}
		hasTurn := b.awaitTurn(ctx)
		err := w.answer(b.collect(first), hasTurn)
		if err != nil {
			return err
		}
	}
}

// next waits for a question. It returns nil when there is none to be waited for.
func (b *Batcher[A]) next(ctx context.Context, retired <-chan struct{}) *lookup[A] {
	select {
	case <-retired:
		return nil
	default:
	}
	b.idle.Add(1)
	defer b.idle.Add(-1)
	for {
		var l *lookup[A]
		select {
		case l = <-b.again:
			l.queued.Store(false)
		default:
			select {
			case <-ctx.Done():
				return nil
			case <-retired:
				return nil
			case l = <-b.again:
				l.queued.Store(false)
			case l = <-b.Waiting:
			}
		}
		if l.isPending() {
			return l
		}
	}
}

// awaitTurn makes the batches follow the load. Few look-ups do not wait: each connection takes what is
// there. Where there are more, they wait while they would only split a batch: until the query under way
// is answered, takes longer than queries do, or leaves a whole batch waiting. hasTurn tells the first case.
func (b *Batcher[A]) awaitTurn(ctx context.Context) (hasTurn bool) {
	select {
	case b.turn <- struct{}{}:
		return true
	default:
	}
	if len(b.Waiting) >= MaxBatch || b.Asking.Load() <= b.Up.Load() {
		return false
	}
	delay := time.NewTimer(min(time.Duration(b.average.Load()), maxDelay))
	defer delay.Stop()
	select {
	case b.turn <- struct{}{}:
		return true
	case <-delay.C:
	case <-ctx.Done():
	}
	return false
}

// collect adds to the first look-up those that wait already, less those whose check has given up.
func (b *Batcher[A]) collect(first *lookup[A]) []*lookup[A] {
	batch := []*lookup[A]{first}
	for len(batch) < MaxBatch {
		var next *lookup[A]
		select {
		case next = <-b.again:
			next.queued.Store(false)
		default:
			select {
			case next = <-b.Waiting:
			default:
				return batch
			}
		}
		if next.isPending() {
			batch = append(batch, next)
		}
	}
	return batch
}

// putBack has a question asked again, by whichever connection is free first. Questions that were put back often, as
// where each connection dies of them, are answered with the error.
func (b *Batcher[A]) putBack(l *lookup[A], err error) {
	if !l.isPending() || !l.queued.CompareAndSwap(false, true) {
		return
	}
	if int64(l.attempts.Add(1)) <= 2*b.Most+2 {
		select {
		case b.again <- l:
			return
		default:
		}
	}
	var none A
	l.finish(none, err, time.Now(), 0, 0)
}
