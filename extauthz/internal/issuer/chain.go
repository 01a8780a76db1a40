package issuer

import (
	"context"
	"errors"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
)

// A Verifier judges credentials of one kind.
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

// An Admitter is a verifier that can tell by itself, without asking anybody, that a credential is not its issuer's.
type Admitter interface {
	Admit(ctx context.Context, presented *credential.Credential) error
}

// verifiers has the verifier of each kind, in the order of the chain. They are few, so that a search is as fast as a
// map.
type verifiers []struct {
	kind     *Kind
	verifier Verifier
}

// errUnknownKind is what a credential of no kind comes to: it cannot be checked.
var errUnknownKind = errors.New("a credential of an unknown kind")

// Verify judges a credential by its kind's verifier. A kind that is none is an error.
func (v verifiers) Verify(ctx context.Context, presented Recognized) (identity.Identity, error) {
	for i := range v {
		if v[i].kind == presented.Kind {
			return v[i].verifier.Verify(ctx, presented.Credential)
		}
	}
	return identity.Identity{}, errUnknownKind
}

// VerifierOf returns the verifier of a method; nil when there is none.
func (i *Issuer) VerifierOf(method identity.Method) Verifier {
	for at := range i.verifiers {
		if i.verifiers[at].kind.Method == method {
			return i.verifiers[at].verifier
		}
	}
	return nil
}

// SetVerifier puts another verifier in the place of a method's. It is for tests of faults that cannot be caused
// otherwise.
func (i *Issuer) SetVerifier(method identity.Method, verifier Verifier) {
	for at := range i.verifiers {
		if i.verifiers[at].kind.Method == method {
			i.verifiers[at].verifier = verifier
		}
	}
}
