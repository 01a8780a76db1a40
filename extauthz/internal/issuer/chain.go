package issuer

import (
	"context"
	"fmt"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
)

// A Verifier judges credentials of one sort.
//
// Verify returns the identity that the credential proves. An error that is a *[Denial] is the answer;
// any other error means that the credential could not be checked, and is answered with 503, never
// with 401 and never with allow. With an error, the identity says no more than what was
// proven before it (a subject whose token has expired), for the log.
//
// Verify may be called concurrently. It returns soon after ctx is done.
type Verifier interface {
	Verify(ctx context.Context, credential credential.Credential) (identity.Identity, error)
}

// chain holds the verifier of each kind of credential.
type chain [credential.Kinds]Verifier

// Verify implements [Verifier]. A kind that is none is an error.
func (c *chain) Verify(ctx context.Context, presented credential.Credential) (identity.Identity, error) {
	if presented.Kind >= credential.Kinds {
		return identity.Identity{}, fmt.Errorf("a credential of the unknown kind %d", presented.Kind)
	}
	return c[presented.Kind].Verify(ctx, presented)
}

// MethodOf is how a credential of a kind proves an identity.
var MethodOf = [credential.Kinds]identity.Method{credential.KindJWT: identity.MethodJWKS, credential.KindHS256: identity.MethodHS256, credential.KindSession: identity.MethodSession}
