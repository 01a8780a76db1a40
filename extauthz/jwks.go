package extauthz

import (
	"context"
	"slices"
	"strconv"

	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
	"extauthz/extauthz/internal/verified"
)

// jwksVerifier judges JWTs by the issuer's published keys (RFC 7519 §7.2, RFC 7517).
type jwksVerifier struct {
	issuer *issuer
	gate   *gate
}

// Verify implements [Verifier].
func (v *jwksVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	key, err := v.verifySignature(ctx, &credential.JWT)
	if err != nil {
		return Identity{}, err
	}
	return v.issuer.judgeClaims(ctx, &credential, signedBy{key: key})
}

// verifySignature finds the key by its kid. The key's own algorithm decides: a header that names
// another is refused before any cryptography (RFC 8725 §3.1).
func (v *jwksVerifier) verifySignature(ctx context.Context, token *jose.Token) (*jose.Key, error) {
	if token.KeyID == "" {
		return nil, reason.Deny(ReasonMissingKeyID)
	}
	key, err := v.issuer.Keys.Key(ctx, token.KeyID)
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
func (i *issuer) judgeClaims(ctx context.Context, credential *Credential, signer signedBy) (Identity, error) {
	expected, now := &i.expected[credential.Kind], i.Now()
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
	if i.remembers() && !dryrun.Is(ctx) {
		proof := proofOf(&claims, expected, credential.Kind, signer, i.Answer(identity))
		i.Memory.Add(proof, i.Digest(credential.Token), proof.Value.size(), claims.Expires.Time().Add(jwksLeeway), now)
	}
	return identity, nil
}

// proofOf is what is remembered of claims that passed the expectations, with no text that those have already.
func proofOf(c *jose.Claims, expected *jose.Expectations, kind Kind, signer signedBy, answer answer) *verified.Entry[proof] {
	entry := new(verified.Entry[proof])
	p := &entry.Value
	*p = proof{
		answer: answer, kind: kind, signedBy: signer, times: c.Times,
		issuer: expected.Issuers[slices.Index(expected.Issuers, c.Issuer)],
	}
	for i, audience := range expected.Audiences {
		if slices.Contains(c.Audience, audience) {
			p.audience = expected.Audiences[i : i+1]
			break
		}
	}
	return entry
}
