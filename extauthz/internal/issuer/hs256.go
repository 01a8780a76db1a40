package issuer

import (
	"context"
	"crypto/hmac"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/secret"
)

// hs256Kind is a JSON Web Token that is signed with a shared secret. Its issuers are services next door whose clocks
// are ours, so there is no leeway.
var hs256Kind = &Kind{
	Method: identity.MethodHS256, HasClaims: true, Steps: stepsOfJWT, Found: foundInHS256,
	Read: func(form credential.Form) (credential.Credential, bool, error) {
		return jwtOf(form), form.IsJWT && form.JWT.Algorithm == jose.AlgorithmHS256, nil
	},
	Verifier: func(i *Issuer) Verifier { return &secretVerifier{i} },
}

// secretVerifier judges JWTs that a service signed with the shared secret (HS256, RFC 7518 §3.2).
type secretVerifier struct{ issuer *Issuer }

// Verify implements [Verifier].
func (v *secretVerifier) Verify(ctx context.Context, presented credential.Credential) (identity.Identity, error) {
	signer, err := v.issuer.Secrets.Signer(ctx, secret.ForHS256, FitsHMAC(&presented.JWT))
	if err != nil {
		return identity.Identity{}, err
	}
	return v.issuer.judgeClaims(ctx, hs256Kind, &presented, signedBy{secret: signer})
}

// FitsHMAC tells of a secret whether the token is signed with it, in constant time.
func FitsHMAC(token *jose.Token) func(secret.Value) bool {
	return func(value secret.Value) bool { return hmac.Equal(value.Mac(token.Signed), token.Signature) }
}

func foundInHS256(i *Issuer, step string, read *credential.Credential, who *identity.Identity) string {
	if step == reason.StepKey {
		return i.foundSecret()
	}
	return i.foundInJWT(step, read, who)
}
