package issuer

import (
	"context"
	"slices"
	"strconv"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
	"extauthz/extauthz/internal/verified"
)

// JwksVerifier judges JWTs by the issuer's published keys (RFC 7519 §7.2, RFC 7517).
type JwksVerifier struct {
	Issuer *Issuer
	Gate   *Gate
}

// Verify implements [Verifier].
func (v *JwksVerifier) Verify(ctx context.Context, credential credential.Credential) (identity.Identity, error) {
	key, err := v.VerifySignature(ctx, &credential.JWT)
	if err != nil {
		return identity.Identity{}, err
	}
	return v.Issuer.judgeClaims(ctx, &credential, signedBy{key: key})
}

// VerifySignature finds the key by its kid. The key's own algorithm decides: a header that names
// another is refused before any cryptography (RFC 8725 §3.1).
func (v *JwksVerifier) VerifySignature(ctx context.Context, token *jose.Token) (*jwk.Key, error) {
	if token.KeyID == "" {
		return nil, reason.Deny(reason.MissingKeyID)
	}
	key, err := v.Issuer.Keys.Key(ctx, token.KeyID)
	switch {
	case err != nil:
		return nil, err
	case key == nil:
		return nil, reason.Differing(reason.UnknownKey, "kid "+show.Quoted(token.KeyID), "a kid of the JWKS")
	case key.Fault != "":
		return nil, reason.Differing(reason.UnusableKey, "a key that is "+key.Fault, "a key that may verify tokens")
	case key.Algorithm != token.Algorithm:
		return nil, reason.Differing(reason.KeyAlgorithmMismatch, strconv.QuoteToASCII(token.Algorithm), strconv.QuoteToASCII(key.Algorithm))
	}
	fits, err := v.Gate.Pass(ctx, func() bool { return key.Verify(token.Signed, token.Signature) })
	switch {
	case err != nil:
		return nil, err
	case !fits:
		return nil, reason.Deny(reason.BadSignature)
	}
	return key, nil
}

// judgeClaims is what is left once a signature is verified; signer is what it is by. With
// a denial it returns the subject, which is proven by then. What is allowed is remembered.
func (i *Issuer) judgeClaims(ctx context.Context, credential *credential.Credential, signer signedBy) (identity.Identity, error) {
	expected, now := &i.expected[credential.Kind], i.Now()
	method := MethodOf[credential.Kind]
	claims, err := jose.ParseClaims(credential.JWT.Payload)
	if err != nil {
		return identity.Identity{Method: method}, err
	}
	claims.IsAccessToken = credential.JWT.IsAccessToken
	identity := claims.Identity(method)
	if err := expected.Check(&claims, now); err != nil {
		return identity, err
	}
	if i.Remembers() && !dryrun.Is(ctx) {
		proof := proofOf(&claims, expected, credential.Kind, signer, i.Answer(identity))
		proof.Value.owner = i.Owner
		i.Memory.Add(proof, i.Digest(credential.Token), proof.Value.Size(), claims.Expires.Time().Add(Leeway), now)
	}
	return identity, nil
}

// proofOf is what is remembered of claims that passed the expectations, with no text that those have already.
func proofOf(c *jose.Claims, expected *jose.Expectations, kind credential.Kind, signer signedBy, answer Answer) *verified.Entry[Proof] {
	entry := new(verified.Entry[Proof])
	p := &entry.Value
	*p = Proof{
		Answer: answer, Kind: kind, signedBy: signer, Times: c.Times,
		issuer: &expected.Issuers[slices.Index(expected.Issuers, c.Issuer)],
	}
	for i, audience := range expected.Audiences {
		if slices.Contains(c.Audience, audience) {
			p.audience = expected.Audiences[i : i+1]
			break
		}
	}
	return entry
}
