package extauthz

import (
	"context"
	"strconv"
	"time"
)

// jwksLeeway is how far the issuer's clock and this one may differ.
const jwksLeeway = 60 * time.Second

// jwksVerifier judges JWTs by the issuer's published keys (RFC 7519 §7.2, RFC 7517).
type jwksVerifier struct {
	keys     *remoteKeySet
	expected expectations
	now      func() time.Time
}

// Verify implements [Verifier].
func (v *jwksVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	token := &credential.jwt
	if err := v.verifySignature(ctx, token); err != nil {
		return Identity{}, err
	}
	return judgeClaims(token, MethodJWKS, &v.expected, v.now())
}

// verifySignature finds the key by its kid. The key's own algorithm decides: a header that names
// another is refused before any cryptography (RFC 8725 §3.1).
func (v *jwksVerifier) verifySignature(ctx context.Context, token *jwt) error {
	if token.keyID == "" {
		return deny(ReasonMissingKeyID)
	}
	key, err := v.keys.key(ctx, token.keyID)
	switch {
	case err != nil:
		return err
	case key == nil:
		return denyDiffering(ReasonUnknownKey, "kid "+strconv.QuoteToASCII(clip(token.keyID)), "a kid of the JWKS")
	case key.fault != "":
		return denyDiffering(ReasonUnusableKey, "a key that is "+key.fault, "a key that may verify tokens")
	case key.algorithm != token.algorithm:
		return denyDiffering(ReasonKeyAlgorithmMismatch, strconv.QuoteToASCII(token.algorithm), strconv.QuoteToASCII(key.algorithm))
	case !key.verify(token.signed, token.signature):
		return deny(ReasonBadSignature)
	}
	return nil
}

// judgeClaims is what is left once a signature is verified, whoever verified it. With a denial it
// returns the subject, which is proven by then.
func judgeClaims(token *jwt, method Method, expected *expectations, now time.Time) (Identity, error) {
	claims, err := parseClaims(token.payload)
	if err != nil {
		return Identity{Method: method}, err
	}
	return claims.identity(method), expected.check(&claims, now)
}
