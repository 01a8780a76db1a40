package keyset

import (
	"slices"
	"strings"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/keyset/jwks"
)

// Snapshot is the issuer's keys as one fetch brought them. It is never changed, only replaced.
type Snapshot struct {
	Keys    map[string]*jwk.Key
	aside   []*jwk.Key // entries that no token can name, or that another with the same kid goes before
	Fetched time.Time  // when the fetch began
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

func nameOf(k *jwk.Key) entryName { return entryName{k.ID, k.Fault} }

// asideByName finds the entries of an earlier set, which may be nil, again.
func (s *Snapshot) asideByName() map[entryName]*jwk.Key {
	if s == nil || len(s.aside) == 0 {
		return nil
	}
	found := make(map[entryName]*jwk.Key, len(s.aside))
	for _, entry := range s.aside {
		found[nameOf(entry)] = entry
	}
	return found
}

// bringsKey tells whether the keys have one with a kid that was not known before.
func bringsKey(earlier *Snapshot, keys map[string]*jwk.Key) bool {
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
	// its kid, which the issuer chose: escape it before it is shown; empty for an entry without a good one
	ID        string
	Algorithm string    // its own; empty when it may not be used
	Fault     string    // why it may not be used; empty when it may
	Since     time.Time // when it was first fetched
}
