package session

import (
	"sync"
	"time"
)

const (
	// minHedge is the least time after which a query counts as slow, and its questions are asked on another connection
	// too.
	minHedge = 20 * time.Millisecond
	// hedgeFactor says how many times the average a query may take before it counts as slow.
	hedgeFactor = 4
	// hedgeShare bounds that time to this part of the budget, so that several silent connections, one after the other,
	// leave time for the one that answers.
	hedgeShare = 5
)

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
