package extauthz

import (
	"context"
	"crypto/hmac"
	"time"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/secret"
	"extauthz/extauthz/internal/verified"
)

// secretVerifier judges JWTs that a service signed with the shared secret (HS256, RFC 7518 §3.2).
// Its issuers are services next door whose clocks are ours, so there is no leeway.
type secretVerifier struct {
	secrets  *secret.Set
	memory   *verified.Memory[proof]
	expected jose.Expectations
	now      func() time.Time
}

// Verify implements [Verifier].
func (v *secretVerifier) Verify(ctx context.Context, credential Credential) (Identity, error) {
	signer, err := v.secrets.Signer(ctx, KindHS256, fitsHMAC(&credential.JWT))
	if err != nil {
		return Identity{}, err
	}
	return judgeClaims(ctx, &credential, signedBy{secret: signer}, v.memory, &v.expected, v.now())
}

// fitsHMAC tells of a secret whether the token is signed with it, in constant time.
func fitsHMAC(token *jose.Token) func(secret.Value) bool {
	return func(value secret.Value) bool { return hmac.Equal(value.Mac(token.Signed), token.Signature) }
}
