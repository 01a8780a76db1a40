package issuer

import (
	"slices"
	"time"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
)

// Kind is one kind of credential, whole: what it looks like, how it is judged, and how that is told. Each has one
// value of it, in a file of its own, and a line in [Kinds]; nothing else knows which kinds there are.
type Kind struct {
	// Method is how an identity by it was proven: the backend's x-auth-method, the metrics' label, the log's
	// auth_method, and what a route's methods may ask for.
	Method identity.Method
	// Part is the part of the server that it waits for, as in Authorizer.Missing; empty when there is none.
	Part string
	// HasClaims tells that the credential is a JWT, whose claims and audience a route may ask for.
	HasClaims bool
	// Leeway is how far the clock of who made it may differ from this one.
	Leeway time.Duration
	// Read reads a credential of this kind, and returns false for what looks otherwise. An error is a *Denial and
	// final: no other kind is tried.
	Read func(credential.Form) (read credential.Credential, is bool, err error)
	// Verifier makes what judges it by an issuer's keys, secrets and sessions.
	Verifier func(*Issuer) Verifier
	// Steps are those that an explanation tells of, in order.
	Steps []string
	// Found says in a few words what a step that passed has found, without any part of the credential that is secret.
	Found func(i *Issuer, step string, read *credential.Credential, who *identity.Identity) string
}

// Kinds are the kinds of credentials, in the order in which each is asked whether a credential is one of its own. A
// session token may hold nearly any character, so it comes last.
func Kinds() Chain {
	return Chain{
		jwksKind,
		hs256Kind,
		sessionKind,
	}
}

// Chain is the kinds of credentials that a server takes. It is not changed once it is made.
type Chain []*Kind

// Recognized is a credential with its kind. It is a value; copies are independent.
type Recognized struct {
	Kind *Kind
	credential.Credential
}

// Recognize finds the kind of what is presented, by its shape alone. Its error is a *Denial.
func (c Chain) Recognize(presented credential.Presented) (Recognized, error) {
	form, err := presented.Form()
	if err != nil {
		return Recognized{}, err
	}
	for _, kind := range c {
		if read, is, err := kind.Read(form); err != nil {
			return Recognized{}, err
		} else if is {
			return Recognized{kind, read}, nil
		}
	}
	return Recognized{}, form.Unrecognized()
}

// PartOf names the part that judges what is presented; empty when none is asked.
func (c Chain) PartOf(presented credential.Presented) string {
	recognized, err := c.Recognize(presented)
	if err != nil {
		return ""
	}
	return recognized.Kind.Part
}

// Methods are the methods of the kinds.
func (c Chain) Methods() []identity.Method {
	methods := make([]identity.Method, len(c))
	for i, kind := range c {
		methods[i] = kind.Method
	}
	return methods
}

// HasClaims tells whether what is judged by a method has claims.
func (c Chain) HasClaims(method identity.Method) bool {
	return slices.ContainsFunc(c, func(kind *Kind) bool { return kind.Method == method && kind.HasClaims })
}
