package session

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"extauthz/extauthz/internal/dryrun"
)

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
