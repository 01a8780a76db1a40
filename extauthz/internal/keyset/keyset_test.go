package keyset_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
)

// unobserved is an observer that is told and keeps nothing.
type unobserved struct{}

func (unobserved) Fetched(string, time.Duration)                               {}
func (unobserved) Now() (zero time.Time)                                       { return zero }
func (unobserved) Waited(context.Context, time.Time, time.Time, string, error) {}

// keysOf is a set in which nobody fetches, with these keys as of now.
func keysOf(now *time.Time, keys ...*jwk.Key) *keyset.Set {
	panics := guard.New(slog.New(slog.DiscardHandler), func(string) {})
	fetcher := jwks.New("https://issuer.test/jwks", "test", nil, nil)
	set := keyset.New(fetcher, func() time.Time { return *now }, panics, unobserved{})
	byID := make(map[string]*jwk.Key)
	for _, key := range keys {
		byID[key.ID] = key
	}
	set.Current.Store(&keyset.Snapshot{Keys: byID, Fetched: *now})
	return set
}

// A key counts while the issuer lists that very key, in a set that is not too old.
func TestKeyCounts(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := began
	key := &jwk.Key{ID: "one"}
	set := keysOf(&now, key)
	expect := func(title string, expected bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if is := set.IsCurrent(key, now); is != expected {
			t.Errorf("%s: current: %t", title, is)
		}
		if found, err := set.Key(ctx, key.ID); (found == key && err == nil) != expected {
			t.Errorf("%s: found %v, %v", title, found, err)
		}
	}
	expect("listed", true)
	now = began.Add(keyset.MaxKeySetAge - 1)
	expect("listed, nearly a day ago", true)
	now = began.Add(keyset.MaxKeySetAge)
	expect("listed a day ago", false)
	now = began
	set.Current.Store(&keyset.Snapshot{Keys: map[string]*jwk.Key{"one": {ID: "one"}}, Fetched: now})
	if set.IsCurrent(key, now) {
		t.Error("another key of the same kid is taken for it")
	}
	set.Current.Store(&keyset.Snapshot{Keys: map[string]*jwk.Key{}, Fetched: now})
	expect("not listed", false)
	set.Current.Store(nil)
	expect("never fetched", false)
}

func BenchmarkKey(b *testing.B) {
	now := time.Now()
	key := &jwk.Key{ID: "one"}
	set := keysOf(&now, key, &jwk.Key{ID: "two"})
	b.ReportAllocs()
	for b.Loop() {
		if found, err := set.Key(b.Context(), "one"); found != key || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkIsCurrent(b *testing.B) {
	now := time.Now()
	key := &jwk.Key{ID: "one"}
	set := keysOf(&now, key, &jwk.Key{ID: "two"})
	b.ReportAllocs()
	for b.Loop() {
		if !set.IsCurrent(key, now) {
			b.Fatal("withdrawn")
		}
	}
}
