// Package secret has the shared secrets in force, and what those before a rotation are still good for. It imports
// credential, reason and dryrun. It does not know claims, sessions or where a secret comes from.
package secret

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"sync/atomic"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/reason"
)

// Value is the value of a shared secret. It never prints itself.
type Value []byte

// String implements [fmt.Stringer], so that no log or error can show the secret.
func (Value) String() string { return "(hidden)" }

// GoString implements [fmt.GoStringer], for the same reason.
func (Value) GoString() string { return "(hidden)" }

// Mac is HMAC-SHA256 of the message (RFC 2104).
func (s Value) Mac(message []byte) []byte {
	mac := hmac.New(sha256.New, s)
	mac.Write(message)
	return mac.Sum(nil)
}

// Shared is one of the secrets. The same value is the same pointer as long as it is configured.
type Shared struct{ value Value }

// Secrets are Better Auth's shared secrets, and what those before a rotation are still good for. The zero value turns
// off all that needs a secret.
type Secrets struct {
	// Current is the one that signs; empty when there is none.
	Current []byte
	// Former are those before a rotation. They count for nothing unless one of the next two says so.
	Former [][]byte
	// FormerForHS256 lets a former secret verify HS256 tokens, FormerForSessions the signature of a session token or
	// cookie.
	FormerForHS256, FormerForSessions bool
}

// secretSet is the secrets at one time, and what the former ones are good for. It is never changed, only replaced.
type secretSet struct {
	current *Shared // nil when none is configured
	former  []*Shared
	uses    [credential.Kinds]bool // the kinds of credentials that a former secret may verify
}

// Set are the secrets in force, and what the former ones are good for: during a rotation, tokens of a
// service that has not moved yet, and session tokens that were signed before it. All methods are safe for
// concurrent use.
type Set struct {
	mu     sync.Mutex // serializes replacements
	set    atomic.Pointer[secretSet]
	former func(credential.Kind) // told of each use of a former secret; does not wait
}

// NewSet has none in force. former is told of each use of a former secret, and does not wait.
func NewSet(former func(credential.Kind)) *Set {
	s := &Set{former: former}
	s.set.Store(new(secretSet))
	return s
}

// Replace puts other secrets in force, as a whole; an empty current one turns off what needs a secret.
func (s *Set) Replace(fresh Secrets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uses [credential.Kinds]bool
	uses[credential.KindHS256], uses[credential.KindSession] = fresh.FormerForHS256, fresh.FormerForSessions
	s.put(fresh.Current, fresh.Former, uses)
}

// ReplaceValues is replace for the secrets alone: what the former ones are good for stays.
func (s *Set) ReplaceValues(current []byte, former [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(current, former, s.set.Load().uses)
}

// put makes the set. s.mu is held.
func (s *Set) put(current []byte, former [][]byte, uses [credential.Kinds]bool) {
	var known []*Shared
	if earlier := s.set.Load(); earlier != nil {
		known = append(slices.Clone(earlier.former), earlier.current)
	}
	keep := func(value []byte) *Shared {
		for _, k := range known {
			if k != nil && bytes.Equal(k.value, value) {
				return k
			}
		}
		return &Shared{bytes.Clone(value)}
	}
	fresh := &secretSet{uses: uses}
	if len(current) > 0 {
		fresh.current = keep(current)
	}
	for _, value := range former {
		if len(value) > 0 {
			fresh.former = append(fresh.former, keep(value))
		}
	}
	s.set.Store(fresh)
}

// IsConfigured tells whether there is a current secret.
func (s *Set) IsConfigured() bool { return s.set.Load().current != nil }

// IsInForce tells whether a token that this secret signed counts, and counts the use of a former one.
func (s *Set) IsInForce(signer *Shared) bool {
	set := s.set.Load()
	switch {
	case set.current == signer:
		return true
	case set.uses[credential.KindHS256] && slices.Contains(set.former, signer):
		s.former(credential.KindHS256)
		return true
	}
	return false
}

// Signer returns the secret by which fits is true: the current one, or a former one if these count for this kind.
func (s *Set) Signer(ctx context.Context, kind credential.Kind, fits func(Value) bool) (*Shared, error) {
	set := s.set.Load()
	if set.current == nil {
		return nil, reason.Deny(reason.SecretNotConfigured)
	}
	if fits(set.current.value) {
		return set.current, nil
	}
	if set.uses[kind] {
		for _, former := range set.former {
			if fits(former.value) {
				if !dryrun.Is(ctx) {
					s.former(kind)
				}
				return former, nil
			}
		}
	}
	return nil, reason.Deny(reason.BadSignature)
}

// VerifySession checks the signature that Better Auth puts behind a session token: HMAC-SHA256 of
// the token in standard base64. The text is compared and not the bytes behind it, so
// that each token has one signature only.
func (s *Set) VerifySession(ctx context.Context, presented *credential.Credential) error {
	_, err := s.Signer(ctx, credential.KindSession, func(value Value) bool {
		expected := base64.StdEncoding.EncodeToString(value.Mac([]byte(presented.Token)))
		return hmac.Equal([]byte(expected), []byte(presented.Signature))
	})
	return err
}
