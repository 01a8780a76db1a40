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

// Use is what a secret verifies.
type Use uint8

const (
	ForHS256    Use = iota // the signature of a JWT
	ForSessions            // the signature of a session token

	uses // their number
)

// String is its name in metrics.
func (u Use) String() string { return [uses]string{"hs256", "session"}[u] }

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

// Set is the secrets in force at one time, and what the former ones are good for: during a rotation, tokens of a
// service that has not moved yet, and session tokens that were signed before it. It is never changed, only replaced, so
// that what one check asks of it fits together.
type Set struct {
	current *Shared // nil when none is configured
	former  []*Shared
	uses    [uses]bool // what a former secret may verify
	used    func(Use)  // told of each use of a former secret; does not wait
}

// New puts secrets in force, as a whole; an empty current one turns off what needs a secret. A secret that the earlier
// set has too, which may be nil, stays the same value. used is told of each use of a former secret, and does not wait.
func New(secrets Secrets, earlier *Set, used func(Use)) *Set {
	var known []*Shared
	if earlier != nil {
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
	s := &Set{used: used}
	s.uses[ForHS256], s.uses[ForSessions] = secrets.FormerForHS256, secrets.FormerForSessions
	if len(secrets.Current) > 0 {
		s.current = keep(secrets.Current)
	}
	for _, value := range secrets.Former {
		if len(value) > 0 {
			s.former = append(s.former, keep(value))
		}
	}
	return s
}

// IsConfigured tells whether there is a current secret.
func (s *Set) IsConfigured() bool { return s.current != nil }

// IsInForce tells whether a token that this secret signed counts, and counts the use of a former one.
func (s *Set) IsInForce(signer *Shared) bool {
	switch {
	case s.current == signer:
		return true
	case s.uses[ForHS256] && slices.Contains(s.former, signer):
		s.used(ForHS256)
		return true
	}
	return false
}

// Signer returns the secret by which fits is true: the current one, or a former one if these count for this use.
func (s *Set) Signer(ctx context.Context, use Use, fits func(Value) bool) (*Shared, error) {
	if s.current == nil {
		return nil, reason.Deny(reason.SecretNotConfigured)
	}
	if fits(s.current.value) {
		return s.current, nil
	}
	if s.uses[use] {
		for _, former := range s.former {
			if fits(former.value) {
				if !dryrun.Is(ctx) {
					s.used(use)
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
	_, err := s.Signer(ctx, ForSessions, func(value Value) bool {
		expected := base64.StdEncoding.EncodeToString(value.Mac([]byte(presented.Token)))
		return hmac.Equal([]byte(expected), []byte(presented.Signature))
	})
	return err
}
