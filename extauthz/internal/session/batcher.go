// Package session is what a check asks of a store of sessions, and how checks that wait together share a question. It
// imports dryrun. It does not know what a store is made of, how connections are made, or what a session is good for.
package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/dryrun"
)

const (
	// MaxBatch bounds how many tokens one query asks for.
	MaxBatch = 512
	// maxDelay bounds how long a query that is under way keeps the next one waiting.
	maxDelay = 10 * time.Millisecond
	// maxWaiting bounds how many checks wait for a connection; past it they are answered with 503 at once. Each takes
	// some 10 KiB meanwhile.
	maxWaiting = 1 << 13
	// minHedge is the least time after which a query counts as slow, and its questions are asked on another connection
	// too.
	minHedge = 20 * time.Millisecond
	// hedgeFactor says how many times the average a query may take before it counts as slow.
	hedgeFactor = 4
	// hedgeShare bounds that time to this part of the budget, so that several silent connections, one after the other,
	// leave time for the one that answers.
	hedgeShare = 5
)

// Row is what a live or expired session's row, joined with its user's, says.
type Row struct {
	ExpiresAt           time.Time
	UserID, Email, Name string
}

// Store answers for sessions. It is safe for concurrent use.
type Store interface {
	// Session returns the row of the session with this token, nil when there is none. The answer is to a question that
	// the store received after the call, and that says who is signed in now. Where it cannot be had the error says why:
	// [ErrOverloaded] when too many wait, the context's own error when ctx ended first, any other for an outage.
	Session(ctx context.Context, token string) (*Row, error)
}

// lookup is one check's question for one token. A is what the store answers with, a *Row for one; its zero value says that
// there is none.
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

// Link is a connection that is up, as the batcher knows it.
type Link[A any] interface {
	// Ask returns the rows of those of these tokens that have one. An error that is a *[LostError] says nothing about the
	// tokens: they may be asked elsewhere, and this link is not asked again. Any other may be one token's fault; none is
	// at fault where the same comes of no tokens at all.
	Ask(tokens []string) (map[string]A, error)
	// Interrupt ends an Ask that is under way soon, with a *[LostError]. It does not wait.
	Interrupt()
}

// LostError says that a connection is of no more use, and why.
type LostError struct{ cause error }

// Lost is the error of a connection that is of no more use.
func Lost(cause error) error { return &LostError{cause} }

func (e *LostError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.cause }

func isLost(err error) bool {
	_, is := errors.AsType[*LostError](err)
	return is
}

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

// hedgeAfter is how long a query takes before it counts as slow. It is the whole budget where most queries take so
// long that asking again would not end within it.
func (b *Batcher[A]) hedgeAfter() time.Duration {
	average := time.Duration(b.average.Load())
	after := max(min(hedgeFactor*average, b.budget/hedgeShare), 2*average, min(minHedge, b.budget/hedgeShare))
	if after+average > b.budget {
		return b.budget
	}
	return after
}

// learn takes in how long a query took. One that took much longer than most moves the average a little only, so that
// one slow connection does not make the others' time look short.
func (b *Batcher[A]) learn(took time.Duration) {
	average := b.average.Load()
	if average > 0 {
		took = min(took, time.Duration(hedgeFactor*average))
	}
	b.average.Store((7*average + int64(took)) / 8)
}

// worker serves one link. Its timer looks after a query that takes long.
type worker[A any] struct {
	*Batcher[A]
	link Link[A]

	mu      sync.Mutex
	timer   *time.Timer
	batch   []*lookup[A] // under way
	started time.Time
	hedge   time.Duration // after which it is slow
	hedged  bool
	hasTurn bool
}

// begin says that a query is under way.
func (w *worker[A]) begin(batch []*lookup[A], hasTurn bool) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range batch {
		l.flights.Add(1)
	}
	w.batch, w.hasTurn, w.hedged = batch, hasTurn, false
	w.started, w.hedge = time.Now(), w.hedgeAfter()
	if w.timer == nil {
		w.timer = time.AfterFunc(w.hedge, func() { w.Guard(w.look) })
	} else {
		w.timer.Reset(w.hedge)
	}
	return w.started
}

// end says that no query is under way. The turn is kept until the answers are given, so that who asks again at once
// comes into the next batch.
func (w *worker[A]) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.batch = nil
}

func (w *worker[A]) releaseTurn() {
	if w.hasTurn {
		w.hasTurn = false
		<-w.turn
	}
}

// look is called by the timer while a query is under way: a slow one no longer holds up others, and its questions are
// put back beside it; one that is past the budget is interrupted.
func (w *worker[A]) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.batch == nil {
		return
	}
	switch took := time.Since(w.started); {
	case took >= w.budget:
		w.link.Interrupt()
		return
	case took < w.hedge: // the timer was of an earlier query
		w.timer.Reset(w.hedge - took)
		return
	case !w.hedged:
		w.releaseTurn()
		if w.idle.Load() == 0 && w.Up.Load() < w.Most {
			w.Wanted()
		}
		if !w.hedges.take(time.Now()) {
			w.timer.Reset(min(w.hedge, w.budget-took)) // there may be some left then
			return
		}
		w.hedged = true
		cause := fmt.Errorf("no answer within %s", w.budget)
		for _, l := range w.batch {
			w.putBack(l, cause)
		}
	}
	w.timer.Reset(w.budget - time.Since(w.started))
}

// answer asks for a batch and gives the answers. It returns the error of a link that is lost.
func (w *worker[A]) answer(batch []*lookup[A], hasTurn bool) error {
	var rows map[string]A
	var faults map[*lookup[A]]error
	var err error
	started := w.begin(batch, hasTurn)
	panicked := w.Guard(func() { rows, faults, err = w.inquire(batch) })
	if panicked {
		rows, faults, err = nil, nil, ErrQueryPanicked
	}
	took, fault := time.Since(started), anyOf(faults)
	w.end()
	if slices.ContainsFunc(batch, func(l *lookup[A]) bool { return !dryrun.Is(l.ctx) }) {
		w.Count(len(batch), took, cmp.Or(err, fault))
		if err == nil && fault == nil {
			w.learn(took)
		}
	}
	lost, failed := isLost(err), false
	for _, l := range batch {
		others := l.flights.Add(-1) > 0
		switch {
		case l.answered.Load():
		case !lost:
			failed = failed || err != nil
			l.finish(rows[l.token], cmp.Or(err, faults[l]), started, took, len(batch))
		case !others:
			failed = failed || l.ctx.Err() != nil // its check has given up: it was not answered in time
			w.putBack(l, err)
		}
	}
	w.mu.Lock()
	w.releaseTurn()
	w.mu.Unlock()
	if err == nil || failed {
		w.Outcome(err)
	}
	if fault != nil {
		w.Blamed(fault)
	}
	if lost || panicked {
		return err
	}
	return nil
}

// inquire asks for a batch. Where the query fails by one of its questions, as where a row cannot be read, halves are
// asked until the questions at fault are alone; faults says why they have no answer. The error is of all of them.
func (w *worker[A]) inquire(batch []*lookup[A]) (rows map[string]A, faults map[*lookup[A]]error, err error) {
	rows, err = w.link.Ask(tokensOf(batch))
	if err == nil || isLost(err) {
		return rows, nil, err
	}
	if _, general := w.link.Ask([]string{}); general != nil {
		return nil, nil, general // no question is at fault
	}
	rows, faults = make(map[string]A, len(batch)), make(map[*lookup[A]]error)
	if len(batch) == 1 {
		addFaults(faults, batch, err)
		return rows, faults, nil
	}
	pieces := [][]*lookup[A]{batch[:len(batch)/2], batch[len(batch)/2:]}
	for len(pieces) > 0 {
		piece := pieces[len(pieces)-1]
		pieces = pieces[:len(pieces)-1]
		if !slices.ContainsFunc(piece, (*lookup[A]).isPending) { // nobody waits, and nothing is known
			addFaults(faults, piece, errGivenUp)
			continue
		}
		found, err := w.link.Ask(tokensOf(piece))
		switch {
		case err == nil:
			maps.Copy(rows, found)
		case isLost(err):
			return nil, nil, err
		case len(piece) == 1:
			addFaults(faults, piece, err)
		default:
			pieces = append(pieces, piece[:len(piece)/2], piece[len(piece)/2:])
		}
	}
	return rows, faults, nil
}

func tokensOf[A any](batch []*lookup[A]) []string {
	tokens := make([]string, len(batch))
	for i, l := range batch {
		tokens[i] = l.token
	}
	return tokens
}

func addFaults[A any](faults map[*lookup[A]]error, batch []*lookup[A], err error) {
	for _, l := range batch {
		faults[l] = err
	}
}

// anyOf returns one of the faults that a query met, nil where there is none.
func anyOf[A any](faults map[*lookup[A]]error) error {
	for _, err := range faults {
		if err != errGivenUp {
			return err
		}
	}
	return nil
}

// allowance bounds how often something is done: most at once, and as often a second.
type allowance struct {
	mu   sync.Mutex
	most float64
	used float64
	last time.Time
}

// take tells whether it may be done now. Safe for concurrent use.
func (a *allowance) take(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = max(0, a.used-now.Sub(a.last).Seconds()*a.most)
	a.last = now
	if a.used+1 > a.most {
		return false
	}
	a.used++
	return true
}
