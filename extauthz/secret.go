package extauthz

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
)

// secret is the value of a shared secret. It never prints itself.
type secret []byte

// String implements [fmt.Stringer], so that no log or error can show the secret.
func (secret) String() string { return "(hidden)" }

// GoString implements [fmt.GoStringer], for the same reason.
func (secret) GoString() string { return "(hidden)" }

func (s secret) mac(message []byte) []byte {
	mac := hmac.New(sha256.New, s)
	mac.Write(message)
	return mac.Sum(nil)
}

// sharedSecret is one of the secrets. The same value is the same pointer as long as it is configured.
type sharedSecret struct{ value secret }

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
	current *sharedSecret // nil when none is configured
	former  []*sharedSecret
	uses    [credential.Kinds]bool // the kinds of credentials that a former secret may verify
}

// sharedSecrets are the secrets in force, and what the former ones are good for: during a rotation, tokens of a
// service that has not moved yet, and session tokens that were signed before it. All methods are safe for
// concurrent use.
type sharedSecrets struct {
	mu      sync.Mutex // serializes replacements
	set     atomic.Pointer[secretSet]
	metrics *metrics
}

// replace puts other secrets in force, as a whole; an empty current one turns off what needs a secret.
func (s *sharedSecrets) replace(fresh Secrets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uses [credential.Kinds]bool
	uses[KindHS256], uses[KindSession] = fresh.FormerForHS256, fresh.FormerForSessions
	s.put(fresh.Current, fresh.Former, uses)
}

// replaceValues is replace for the secrets alone: what the former ones are good for stays.
func (s *sharedSecrets) replaceValues(current []byte, former [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(current, former, s.set.Load().uses)
}

// put makes the set. s.mu is held.
func (s *sharedSecrets) put(current []byte, former [][]byte, uses [credential.Kinds]bool) {
	var known []*sharedSecret
	if earlier := s.set.Load(); earlier != nil {
		known = append(slices.Clone(earlier.former), earlier.current)
	}
	keep := func(value []byte) *sharedSecret {
		for _, k := range known {
			if k != nil && bytes.Equal(k.value, value) {
				return k
			}
		}
		return &sharedSecret{bytes.Clone(value)}
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

func (s *sharedSecrets) isConfigured() bool { return s.set.Load().current != nil }

// isInForce tells whether a token that this secret signed counts, and counts the use of a former one.
func (s *sharedSecrets) isInForce(signer *sharedSecret) bool {
	set := s.set.Load()
	switch {
	case set.current == signer:
		return true
	case set.uses[KindHS256] && slices.Contains(set.former, signer):
		s.metrics.formerSecrets[KindHS256].Inc()
		return true
	}
	return false
}

// signer returns the secret by which fits is true: the current one, or a former one if these count for this kind.
func (s *sharedSecrets) signer(ctx context.Context, kind Kind, fits func(secret) bool) (*sharedSecret, error) {
	set := s.set.Load()
	if set.current == nil {
		return nil, reason.Deny(ReasonSecretNotConfigured)
	}
	if fits(set.current.value) {
		return set.current, nil
	}
	if set.uses[kind] {
		for _, former := range set.former {
			if fits(former.value) {
				if !dryrun.Is(ctx) {
					s.metrics.formerSecrets[kind].Inc()
				}
				return former, nil
			}
		}
	}
	return nil, reason.Deny(ReasonBadSignature)
}

// verifySession checks the signature that Better Auth puts behind a session token: HMAC-SHA256 of
// the token in standard base64. The text is compared and not the bytes behind it, so
// that each token has one signature only.
func (s *sharedSecrets) verifySession(ctx context.Context, credential *Credential) error {
	_, err := s.signer(ctx, KindSession, func(value secret) bool {
		expected := base64.StdEncoding.EncodeToString(value.mac([]byte(credential.Token)))
		return hmac.Equal([]byte(expected), []byte(credential.Signature))
	})
	return err
}

// secretVerifier judges JWTs that a service signed with the shared secret (HS256, RFC 7518 §3.2).
// Its issuers are services next door whose clocks are ours, so there is no leeway.
type secretVerifier struct {
	secrets  *sharedSecrets
	memory   *memory
	expected jose.Expectations
	now      func() time.Time
}

// Verify implements [Verifier].
func (v *secretVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	signer, err := v.secrets.signer(ctx, KindHS256, fitsHMAC(&credential.JWT))
	if err != nil {
		return Identity{}, err
	}
	return judgeClaims(ctx, &credential, signedBy{secret: signer}, v.memory, &v.expected, v.now())
}

// fitsHMAC tells of a secret whether the token is signed with it, in constant time.
func fitsHMAC(token *jose.Token) func(secret) bool {
	return func(value secret) bool { return hmac.Equal(value.mac(token.Signed), token.Signature) }
}
