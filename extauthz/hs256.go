package extauthz

import (
	"context"
	"crypto/hmac"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/secret"
)

// secretVerifier judges JWTs that a service signed with the shared secret (HS256, RFC 7518 §3.2).
// Its issuers are services next door whose clocks are ours, so there is no leeway.
type secretVerifier struct{ issuer *issuer }

// Verify implements [Verifier].
func (v *secretVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	signer, err := v.issuer.Secrets.Signer(ctx, KindHS256, fitsHMAC(&credential.JWT))
	if err != nil {
		return Identity{}, err
	}
	return v.issuer.judgeClaims(ctx, &credential, signedBy{secret: signer})
}

// fitsHMAC tells of a secret whether the token is signed with it, in constant time.
func fitsHMAC(token *jose.Token) func(secret.Value) bool {
	return func(value secret.Value) bool { return hmac.Equal(value.Mac(token.Signed), token.Signature) }
}
