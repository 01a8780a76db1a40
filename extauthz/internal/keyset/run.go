package keyset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/keyset/jwks"
)

// fetch is one request to the issuer, shared by all who waited for it to begin.
type fetch struct {
	joined bool // somebody waits for it; guarded by Set.mu
	isNew  bool // and somebody of these for a kid that no fetch has been in vain for; likewise
	done   chan struct{}
	err    error     // why it brought no key set; valid once done is closed
	began  time.Time // and ended, for traces; valid once done is closed, and zero when it never began
	ended  time.Time
}

func newFetch() *fetch { return &fetch{done: make(chan struct{})} }

// Run fetches until the context ends. It alone fetches, one at a time and under its own context, so
// that no client's impatience or flood reaches the issuer.
func (s *Set) Run(ctx context.Context) {
	stopLog := s.log.start()
	defer stopLog()
	asked := false
	for ctx.Err() == nil {
		s.ordered.Store(false)
		s.pace.began(time.Now(), asked)
		s.fetchOnce(ctx)
		asked = s.rest(ctx)
	}
	s.take().end(errors.New("shutting down"))
}

// rest waits for the next fetch to be due: by the clock, or because somebody asks for one and the pace allows it. It
// tells whether that is for an unknown kid.
func (s *Set) rest(ctx context.Context) (asked bool) {
	due := time.NewTimer(s.pace.untilDue(time.Now()))
	defer due.Stop()
	// When the fetch for an unknown kid may begin, and an operator's; nil while nobody asks for one.
	var turn, order <-chan time.Time
	isTurnOfNew := false
	for {
		select {
		case <-ctx.Done():
			return false
		case <-due.C:
			return false
		case <-order:
			return false
		case <-turn:
			return true
		case <-s.wanted:
			now := time.Now()
			if s.ordered.Load() && order == nil {
				order = time.After(s.pace.untilSpaced(now))
			}
			isAwaited, isNew := s.demand()
			if !isAwaited || turn != nil && (isTurnOfNew || !isNew) {
				continue // woken for a fetch that has been, or that has its turn
			}
			if calm := s.pace.calm(now); calm > 0 {
				s.take().end(fmt.Errorf("the issuer asked to be left alone for another %s", calm.Round(time.Second)))
				continue
			}
			turn, isTurnOfNew = time.After(s.pace.untilAsked(now, isNew)), isNew
		}
	}
}

// take returns the fetch that collects those who wait and lets later ones join the next.
func (s *Set) take() *fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.waiting
	s.waiting = newFetch()
	return taken
}

// demand tells whether a check waits for the next fetch, and whether one does for a kid that is new.
func (s *Set) demand() (isAwaited, isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.joined, s.waiting.isNew
}

// end gives the outcome to all who joined the fetch.
func (f *fetch) end(err error) {
	f.err = err
	close(f.done)
}

// fetchOnce replaces the key set, or keeps it.
func (s *Set) fetchOnce(ctx context.Context) {
	current := s.take() // whoever joined before this line came before the fetch
	earlier := s.Current.Load()
	var began time.Time
	got, isAnswered := jwks.Fetched{Result: jwks.ResultPanic, Err: jwks.ErrPanicked}, false
	defer func() { // if what follows panics, nobody is left waiting
		if !isAnswered {
			current.end(jwks.ErrPanicked)
		}
	}()
	current.began = time.Now()
	current.ended = current.began
	fault, stack := guard.Trapped(func() { began = s.now() })
	if fault == nil {
		got, fault, stack = s.guard.Get(ctx, s.Fetcher)
		current.ended = time.Now()
	}
	if got.Err == nil {
		s.Current.Store(nextKeySet(earlier, &got, began))
	}
	s.pace.ended(time.Now(), got.Err != nil, got.Err == nil && bringsKey(earlier, got.Keys), got.RetryAfter)
	current.end(got.Err)
	isAnswered = true
	s.State.Note(got.Err)
	s.observer.Fetched(got.Result, current.ended.Sub(current.began))
	switch {
	case fault != nil:
		s.panics.Count(guard.InJWKS)
		s.log.panicked(fault, stack)
	case got.Err == nil:
		s.log.replaced(earlier, s.Current.Load())
	case ctx.Err() == nil:
		s.log.failed(&got)
	}
}
