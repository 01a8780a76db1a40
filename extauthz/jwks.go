package extauthz

import (
	"context"
	"slices"
	"strconv"
	"time"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
	"extauthz/extauthz/internal/verified"
)

// jwksLeeway is how far the issuer's clock and this one may differ.
const jwksLeeway = 60 * time.Second

// jwksVerifier judges JWTs by the issuer's published keys (RFC 7519 §7.2, RFC 7517).
type jwksVerifier struct {
	keys     *keyset.Set
	gate     *gate
	memory   *verified.Memory[proof]
	expected jose.Expectations
	now      func() time.Time
}

// Verify implements [Verifier].
func (v *jwksVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	key, err := v.verifySignature(ctx, &credential.JWT)
	if err != nil {
		return Identity{}, err
	}
	return judgeClaims(ctx, &credential, signedBy{key: key}, v.memory, &v.expected, v.now())
}

// verifySignature finds the key by its kid. The key's own algorithm decides: a header that names
// another is refused before any cryptography (RFC 8725 §3.1).
func (v *jwksVerifier) verifySignature(ctx context.Context, token *jose.Token) (*jose.Key, error) {
	if token.KeyID == "" {
		return nil, reason.Deny(ReasonMissingKeyID)
	}
	key, err := v.keys.Key(ctx, token.KeyID)
	switch {
	case err != nil:
		return nil, err
	case key == nil:
		return nil, reason.Differing(ReasonUnknownKey, "kid "+show.Quoted(token.KeyID), "a kid of the JWKS")
	case key.Fault != "":
		return nil, reason.Differing(ReasonUnusableKey, "a key that is "+key.Fault, "a key that may verify tokens")
	case key.Algorithm != token.Algorithm:
		return nil, reason.Differing(ReasonKeyAlgorithmMismatch, strconv.QuoteToASCII(token.Algorithm), strconv.QuoteToASCII(key.Algorithm))
	}
	fits, err := v.gate.pass(ctx, func() bool { return key.Verify(token.Signed, token.Signature) })
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
func judgeClaims(ctx context.Context, credential *Credential, signer signedBy, memory *verified.Memory[proof], expected *jose.Expectations, now time.Time) (Identity, error) {
	method := methodOf[credential.Kind]
	claims, err := jose.ParseClaims(credential.JWT.Payload)
	if err != nil {
		return Identity{Method: method}, err
	}
	claims.IsAccessToken = credential.JWT.IsAccessToken
	identity := claims.Identity(method)
	if err := expected.Check(&claims, now); err != nil {
		return identity, err
	}
	if memory != nil && !dryrun.Is(ctx) {
		proof := proofOf(&claims, expected, credential.Kind, signer, identity)
		memory.Add(proof, verified.Of(checkwire.Bytes(credential.Token)), proof.Value.size(), claims.Expires.Time().Add(jwksLeeway), now)
	}
	return identity, nil
}

// proofOf is what is remembered of claims that passed the expectations, with no text that those have already.
func proofOf(c *jose.Claims, expected *jose.Expectations, kind Kind, signer signedBy, identity Identity) *verified.Entry[proof] {
	entry := new(verified.Entry[proof])
	p := &entry.Value
	*p = proof{
		kind: kind, signedBy: signer, times: c.Times,
		issuer: expected.Issuers[slices.Index(expected.Issuers, c.Issuer)],
	}
	for i, audience := range expected.Audiences {
		if slices.Contains(c.Audience, audience) {
			p.audience = expected.Audiences[i : i+1]
			break
		}
	}
	p.answer.Set(checkwire.EncodeAllow(&request.Request{}, identity))
	return entry
}
