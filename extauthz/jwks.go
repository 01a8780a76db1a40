package extauthz

import (
	"context"
	"strconv"
	"time"

	"extauthz/extauthz/internal/show"

	"extauthz/extauthz/internal/reason"
)

// jwksLeeway is how far the issuer's clock and this one may differ.
const jwksLeeway = 60 * time.Second

// jwksVerifier judges JWTs by the issuer's published keys (RFC 7519 §7.2, RFC 7517).
type jwksVerifier struct {
	keys     *remoteKeySet
	gate     *gate
	memory   *memory
	expected expectations
	now      func() time.Time
}

// Verify implements [Verifier].
func (v *jwksVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	key, err := v.verifySignature(ctx, &credential.jwt)
	if err != nil {
		return Identity{}, err
	}
	return judgeClaims(ctx, &credential, signedBy{key: key}, v.memory, &v.expected, v.now())
}

// verifySignature finds the key by its kid. The key's own algorithm decides: a header that names
// another is refused before any cryptography (RFC 8725 §3.1).
func (v *jwksVerifier) verifySignature(ctx context.Context, token *jwt) (*key, error) {
	if token.keyID == "" {
		return nil, reason.Deny(ReasonMissingKeyID)
	}
	key, err := v.keys.key(ctx, token.keyID)
	switch {
	case err != nil:
		return nil, err
	case key == nil:
		return nil, reason.Differing(ReasonUnknownKey, "kid "+show.Quoted(token.keyID), "a kid of the JWKS")
	case key.fault != "":
		return nil, reason.Differing(ReasonUnusableKey, "a key that is "+key.fault, "a key that may verify tokens")
	case key.algorithm != token.algorithm:
		return nil, reason.Differing(ReasonKeyAlgorithmMismatch, strconv.QuoteToASCII(token.algorithm), strconv.QuoteToASCII(key.algorithm))
	}
	fits, err := v.gate.pass(ctx, func() bool { return key.verify(token.signed, token.signature) })
	switch {
	case err != nil:
		return nil, err
	case !fits:
		return nil, reason.Deny(ReasonBadSignature)
	}
	return key, nil
}

// judgeClaims is what is left once a signature is verified; signer is what it is by. With
// a denial it returns the subject, which is proven by then. What is allowed is remembered.
func judgeClaims(ctx context.Context, credential *Credential, signer signedBy, memory *memory, expected *expectations, now time.Time) (Identity, error) {
	method := methodOf[credential.Kind]
	claims, err := parseClaims(credential.jwt.payload)
	if err != nil {
		return Identity{Method: method}, err
	}
	claims.isAccessToken = credential.jwt.isAccessToken
	identity := claims.identity(method)
	if err := expected.check(&claims, now); err != nil {
		return identity, err
	}
	if memory != nil && leavesTrace(ctx) {
		memory.add(claims.proof(expected, credential, signer, identity), now)
	}
	return identity, nil
}
