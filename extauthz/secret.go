package extauthz

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// secret is BETTER_AUTH_SECRET; empty when not configured. It never prints itself.
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

// secretVerifier judges JWTs that a service signed with the shared secret (HS256, RFC 7518 §3.2).
// Its issuers are services next door whose clocks are ours, so there is no leeway.
type secretVerifier struct {
	secret   secret
	memory   *memory
	expected expectations
	now      func() time.Time
}

// Verify implements [Verifier].
func (v *secretVerifier) Verify(_ context.Context, credential Credential) (Identity, error) {
	if err := v.verifySignature(&credential.jwt); err != nil {
		return Identity{}, err
	}
	return judgeClaims(&credential, nil, v.memory, &v.expected, v.now())
}

func (v *secretVerifier) verifySignature(token *jwt) error {
	if len(v.secret) == 0 {
		return deny(ReasonSecretNotConfigured)
	}
	if !hmac.Equal(v.secret.mac(token.signed), token.signature) {
		return deny(ReasonBadSignature)
	}
	return nil
}

// verifySession checks the signature that Better Auth puts behind a session token: HMAC-SHA256 of
// the token in standard base64. The text is compared and not the bytes behind it, so
// that each token has one signature only.
func (s secret) verifySession(credential *Credential) error {
	expected := base64.StdEncoding.EncodeToString(s.mac([]byte(credential.Token)))
	if !hmac.Equal([]byte(expected), []byte(credential.Signature)) {
		return deny(ReasonBadSignature)
	}
	return nil
}
