// Package keyset keeps the keys of one issuer: fetched, bounded, replaced whole. It imports jose, jwks, reason, part, guard,
// finding and show. It does not know tokens, nor what a key is used for.
package keyset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/part"
	"extauthz/extauthz/internal/reason"
)

const (
	MaxKeySetAge = 24 * time.Hour // how long keys count while the issuer cannot be reached
	maxAwaiting  = 1 << 12        // checks that wait for a fetch; past it they are answered with 503 at once
)

// Snapshot is the issuer's keys as one fetch brought them. It is never changed, only replaced.
type Snapshot struct {
	Keys    map[string]*jose.Key
	aside   []*jose.Key // entries that no token can name, or that another with the same kid goes before
	Fetched time.Time   // when the fetch began
}

// Observer is told what a key set does. Its methods do not wait.
type Observer interface {
	// Fetched is told of each fetch: its result, and how long it took.
	Fetched(result string, took time.Duration)
	// Now is the time where Waited wants it, and may be zero where it does not.
	Now() time.Time
	// Waited is told that a check waited for a fetch of the URL.
	Waited(ctx context.Context, began, ended time.Time, url string, err error)
}

// Set keeps the current key set of one issuer (RFC 7517) and fetches it: every minute, and when a check meets
// a kid that it does not know. All methods are safe for concurrent use.
//
// A fetch changes what is decided first and tells of it then: the set is replaced, those who wait are answered, and
// only after that it is counted and logged, by a goroutine that may wait without holding up the next fetch.
type Set struct {
	Fetcher  *jwks.Fetcher
	now      func() time.Time
	log      *keyLog
	panics   *guard.Panics
	observer Observer
	State    part.State

	awaiting atomic.Int64             // checks that wait for a fetch
	Current  atomic.Pointer[Snapshot] // nil until the first fetch succeeds

	mu      sync.Mutex
	waiting *fetch // collects the checks that wait for a fetch which has not begun; guarded by mu

	vain    *vainKids
	wanted  chan struct{} // wakes run; whether somebody waits is said by waiting.joined
	ordered atomic.Bool   // an operator asks for a fetch
	pace    fetchPace     // run's alone
	guard   jwks.Guard    // likewise
}

// fetch is one request to the issuer, shared by all who waited for it to begin.
type fetch struct {
	joined bool // somebody waits for it; guarded by Set.mu
	isNew  bool // and somebody of these for a kid that no fetch has been in vain for; likewise
	done   chan struct{}
	err    error     // why it brought no key set; valid once done is closed
	began  time.Time // and ended, for traces; valid once done is closed, and zero when it never began
	ended  time.Time
}

// New keeps the keys that the fetcher brings, by this clock.
func New(fetcher *jwks.Fetcher, now func() time.Time, panics *guard.Panics,
	observer Observer) *Set {
	return &Set{Fetcher: fetcher, now: now, log: newKeyLog(fetcher.Shown, panics), panics: panics,
		observer: observer, State: part.NewState(), waiting: newFetch(), vain: newVainKids(),
		wanted: make(chan struct{}, 1), pace: fetchPace{refill: FetchRefill}}
}

// SetRefill replaces FetchRefill, before Run begins: tests that are not about the pace of fetches would only wait for it.
func (s *Set) SetRefill(refill time.Duration) { s.pace.refill = refill }

func newFetch() *fetch { return &fetch{done: make(chan struct{})} }

// Key returns the issuer's key of that id, or nil when the issuer has none. A known id is answered
// from memory; an unknown one by a fetch that begins after this call, which the checks that come
// in the meantime share. The error is a *Denial with status 503: the keys could not be had in time.
func (s *Set) Key(ctx context.Context, id string) (*jose.Key, error) {
	set := s.Current.Load()
	if set != nil && s.now().Sub(set.Fetched) < MaxKeySetAge {
		if known := set.Keys[id]; known != nil {
			return known, nil
		}
	}
	if err := s.await(ctx, !s.vain.has(id)); err != nil {
		return nil, err
	}
	found := s.Current.Load().Keys[id]
	if found == nil {
		s.vain.add(id)
	}
	return found, nil
}

// IsFetched tells whether a fetch has succeeded.
func (s *Set) IsFetched() bool { return s.Current.Load() != nil }

// IsCurrent tells whether the issuer still lists this very key, by what is known without asking.
func (s *Set) IsCurrent(k *jose.Key, now time.Time) bool {
	set := s.Current.Load()
	return set != nil && set.Keys[k.ID] == k && now.Sub(set.Fetched) < MaxKeySetAge
}

// await joins the next fetch and waits for its end. isNew tells that no fetch has been in vain for the kid.
func (s *Set) await(ctx context.Context, isNew bool) error {
	defer s.awaiting.Add(-1)
	if s.awaiting.Add(1) > maxAwaiting {
		return reason.Unavailable(reason.Overloaded, errors.New("too many checks wait for the JWKS")).At(reason.StepKey)
	}
	asked := s.observer.Now()
	s.mu.Lock()
	next := s.waiting
	next.joined = true
	next.isNew = next.isNew || isNew
	s.mu.Unlock()
	select {
	case s.wanted <- struct{}{}:
	default: // run is woken already
	}
	select {
	case <-next.done:
		s.observer.Waited(ctx, next.began, next.ended, s.Fetcher.Shown, next.err)
		if next.err != nil {
			return reason.Unavailable(reason.JWKSUnavailable, fmt.Errorf("fetching %s: %w", s.Fetcher.Shown, next.err))
		}
		return nil
	case <-ctx.Done():
		s.observer.Waited(ctx, asked, s.observer.Now(), s.Fetcher.Shown, ctx.Err())
		return reason.GivenUp(ctx, "the JWKS").At(reason.StepKey)
	}
}

// Refresh has a fetch begin at once, whatever strangers have asked for before and however long the issuer wants to be
// left alone: it may be another host by now, and an operator has looked at it.
func (s *Set) Refresh() {
	s.ordered.Store(true)
	select {
	case s.wanted <- struct{}{}:
	default: // run is woken already
	}
}

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

// nextKeySet is the set that a fetch brought. The same key is the same pointer as long as the issuer lists it, and is
// another when it changes in anything.
func nextKeySet(earlier *Snapshot, got *jwks.Fetched, began time.Time) *Snapshot {
	if earlier != nil {
		for id, key := range got.Keys {
			known := earlier.Keys[id]
			if known != nil && (known.Equal(key) || key.Fault != "" && key.Fault == known.Fault) {
				got.Keys[id] = known
			}
		}
	}
	for _, key := range got.Keys {
		if key.Since.IsZero() {
			key.Since = began
		}
	}
	known := earlier.asideByName()
	for _, entry := range got.Aside {
		if entry.Since = began; known[nameOf(entry)] != nil {
			entry.Since = known[nameOf(entry)].Since
		}
	}
	return &Snapshot{Keys: got.Keys, aside: got.Aside, Fetched: began}
}

// entryName tells an entry that is set aside from others.
type entryName struct{ id, fault string }

func nameOf(k *jose.Key) entryName { return entryName{k.ID, k.Fault} }

// asideByName finds the entries of an earlier set, which may be nil, again.
func (s *Snapshot) asideByName() map[entryName]*jose.Key {
	if s == nil || len(s.aside) == 0 {
		return nil
	}
	found := make(map[entryName]*jose.Key, len(s.aside))
	for _, entry := range s.aside {
		found[nameOf(entry)] = entry
	}
	return found
}

// bringsKey tells whether the keys have one with a kid that was not known before.
func bringsKey(earlier *Snapshot, keys map[string]*jose.Key) bool {
	for id := range keys {
		if earlier == nil || earlier.Keys[id] == nil {
			return true
		}
	}
	return false
}

// Age is how long ago the current key set was fetched; a negative one while there is none, or while the clock panics:
// metrics are collected in goroutines where that would end the process.
func (s *Set) Age() time.Duration {
	age := -time.Second
	if set := s.Current.Load(); set != nil {
		guard.Trapped(func() { age = s.now().Sub(set.Fetched) })
	}
	return age
}

// List describes the current keys, ordered by id, and when they were fetched; none while there is no key set.
func (s *Set) List() (keys []Entry, fetched time.Time) {
	set := s.Current.Load()
	if set == nil {
		return nil, time.Time{}
	}
	for _, k := range set.Keys {
		keys = append(keys, Entry{ID: k.ID, Algorithm: k.Algorithm, Fault: k.Fault, Since: k.Since})
	}
	for _, k := range set.aside {
		keys = append(keys, Entry{ID: k.ID, Fault: k.Fault, Since: k.Since})
	}
	slices.SortStableFunc(keys, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return keys, set.Fetched
}

// Usable is the number of keys that may verify tokens.
func (s *Set) Usable() (count int) {
	if set := s.Current.Load(); set != nil {
		for _, key := range set.Keys {
			if key.Fault == "" {
				count++
			}
		}
	}
	return count
}

// Entry is a key of the issuer's, as the JWKS in use has it.
type Entry struct {
	ID        string    // its kid, which the issuer chose: escape it before it is shown; empty for an entry without a good one
	Algorithm string    // its own; empty when it may not be used
	Fault     string    // why it may not be used; empty when it may
	Since     time.Time // when it was first fetched
}
