package extauthz

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync/atomic"
	"time"
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

// secretSet is the secrets at one time. It is never changed, only replaced.
type secretSet struct {
	current *sharedSecret // nil when none is configured
	former  []*sharedSecret
}

// sharedSecrets are the secrets in force, and what the former ones are good for: during a rotation, tokens of a
// service that has not moved yet, and session tokens that were signed before it. All methods are safe for
// concurrent use.
type sharedSecrets struct {
	set               atomic.Pointer[secretSet]
	formerForHS256    bool
	formerForSessions bool
	metrics           *metrics
}

// replace puts other secrets in force; an empty current one turns off what needs a secret.
func (s *sharedSecrets) replace(current []byte, former [][]byte) {
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
	fresh := &secretSet{}
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
	case s.formerForHS256 && slices.Contains(set.former, signer):
		s.metrics.formerSecrets[KindHS256].Inc()
		return true
	}
	return false
}

// signer returns the secret by which fits is true: the current one, or a former one if these count for this kind.
func (s *sharedSecrets) signer(kind Kind, formerCount bool, fits func(secret) bool) (*sharedSecret, error) {
	set := s.set.Load()
	if set.current == nil {
		return nil, deny(ReasonSecretNotConfigured)
	}
	if fits(set.current.value) {
		return set.current, nil
	}
	if formerCount {
		for _, former := range set.former {
			if fits(former.value) {
				s.metrics.formerSecrets[kind].Inc()
				return former, nil
			}
		}
	}
	return nil, deny(ReasonBadSignature)
}

// verifySession checks the signature that Better Auth puts behind a session token: HMAC-SHA256 of
// the token in standard base64. The text is compared and not the bytes behind it, so
// that each token has one signature only.
func (s *sharedSecrets) verifySession(credential *Credential) error {
	_, err := s.signer(KindSession, s.formerForSessions, func(value secret) bool {
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
	expected expectations
	now      func() time.Time
}

// Verify implements [Verifier].
func (v *secretVerifier) Verify(_ context.Context, credential Credential) (Identity, error) {
	signer, err := v.secrets.signer(KindHS256, v.secrets.formerForHS256, fitsHMAC(&credential.jwt))
	if err != nil {
		return Identity{}, err
	}
	return judgeClaims(&credential, signedBy{secret: signer}, v.memory, &v.expected, v.now())
}

// fitsHMAC tells of a secret whether the token is signed with it, in constant time.
func fitsHMAC(token *jwt) func(secret) bool {
	return func(value secret) bool { return hmac.Equal(value.mac(token.signed), token.signature) }
}
