package issuer

import (
	"context"
	"crypto/hmac"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/secret"
)

// secretVerifier judges JWTs that a service signed with the shared secret (HS256, RFC 7518 §3.2).
// Its issuers are services next door whose clocks are ours, so there is no leeway.
type secretVerifier struct{ issuer *Issuer }

// Verify implements [Verifier].
func (v *secretVerifier) Verify(ctx context.Context, presented credential.Credential) (identity.Identity, error) {
	signer, err := v.issuer.Secrets.Signer(ctx, credential.KindHS256, FitsHMAC(&presented.JWT))
	if err != nil {
		return identity.Identity{}, err
	}
	return v.issuer.judgeClaims(ctx, &presented, signedBy{secret: signer})
}

// FitsHMAC tells of a secret whether the token is signed with it, in constant time.
func FitsHMAC(token *jose.Token) func(secret.Value) bool {
	return func(value secret.Value) bool { return hmac.Equal(value.Mac(token.Signed), token.Signature) }
}
