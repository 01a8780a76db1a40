// Package keyset keeps the keys of one issuer: fetched, bounded, replaced whole. It imports jose, jwks, reason, part,
// guard, finding and show. It does not know tokens, nor what a key is used for.
package keyset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/part"
	"extauthz/extauthz/internal/reason"
)

const (
	MaxKeySetAge = 24 * time.Hour // how long keys count while the issuer cannot be reached
	maxAwaiting  = 1 << 12        // checks that wait for a fetch; past it they are answered with 503 at once
)

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

// New keeps the keys that the fetcher brings, by this clock.
func New(fetcher *jwks.Fetcher, now func() time.Time, panics *guard.Panics,
	observer Observer) *Set {
	return &Set{Fetcher: fetcher, now: now, log: newKeyLog(fetcher.Shown, panics), panics: panics,
		observer: observer, State: part.NewState(), waiting: newFetch(), vain: newVainKids(),
		wanted: make(chan struct{}, 1), pace: fetchPace{refill: FetchRefill}}
}

// SetRefill replaces FetchRefill, before Run begins: tests that are not about the pace of fetches would only wait for
// it.
func (s *Set) SetRefill(refill time.Duration) { s.pace.refill = refill }

// Key returns the issuer's key of that id, or nil when the issuer has none. A known id is answered
// from memory; an unknown one by a fetch that begins after this call, which the checks that come
// in the meantime share. The error is a *Denial with status 503: the keys could not be had in time.
func (s *Set) Key(ctx context.Context, id string) (*jwk.Key, error) {
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
func (s *Set) IsCurrent(k *jwk.Key, now time.Time) bool {
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
