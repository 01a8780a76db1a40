package issuer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/gate"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

// Leeway is how far the issuer's clock and this one may differ.
const Leeway = 60 * time.Second

// jwksKind is a JSON Web Token in compact serialization (RFC 7515 §3.1) with an asymmetric algorithm.
var jwksKind = &Kind{
	Method: identity.MethodJWKS, Part: "jwks", HasClaims: true, Leeway: Leeway, Steps: stepsOfJWT, Found: foundInJWKS,
	Read: func(form credential.Form) (credential.Credential, bool, error) {
		return jwtOf(form), form.IsJWT && slices.Contains(jose.AsymmetricAlgorithms, form.JWT.Algorithm), nil
	},
	Verifier: func(i *Issuer) Verifier { return &JwksVerifier{i, i.Gate} },
}

// JwksVerifier judges JWTs by the issuer's published keys (RFC 7519 §7.2, RFC 7517).
type JwksVerifier struct {
	Issuer *Issuer
	Gate   *gate.Gate
}

// Verify implements [Verifier].
func (v *JwksVerifier) Verify(ctx context.Context, presented credential.Credential) (identity.Identity, error) {
	key, err := v.VerifySignature(ctx, &presented.JWT)
	if err != nil {
		return identity.Identity{}, err
	}
	return v.Issuer.judgeClaims(ctx, jwksKind, &presented, signedBy{key: key})
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
		return nil, reason.Differing(reason.KeyAlgorithmMismatch, strconv.QuoteToASCII(token.Algorithm),
			strconv.QuoteToASCII(key.Algorithm))
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

func foundInJWKS(i *Issuer, step string, read *credential.Credential, who *identity.Identity) string {
	if step == reason.StepKey {
		return fmt.Sprintf("kid %s, %s, from %s", show.Quoted(read.JWT.KeyID), read.JWT.Algorithm, i.Keys.Fetcher.Shown)
	}
	return i.foundInJWT(step, read, who)
}
