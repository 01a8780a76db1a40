package extauthz

import (
	"context"
	"fmt"
	"io"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/issuer"
)

// Credential is what one request presents to prove who sends it, as [Bearer] or [Cookie] make it for
// [Authorizer.Explain]. It is a value, prints as "(hidden)" and cannot be looked into. The zero value is an empty
// Bearer token.
type Credential struct{ presented *credential.Presented } // by pointer, since package fmt follows none

// Bearer is the credential of an Authorization header, without its scheme: a JWT, or a session token that is raw or
// signed (`value.signature`), percent-encoded or not.
func Bearer(token string) Credential { return Credential{&credential.Presented{Text: token}} }

// Cookie is the value of the session cookie, as it stands in the Cookie header.
func Cookie(value string) Credential {
	return Credential{&credential.Presented{Text: value, Cookie: true}}
}

// Format implements [fmt.Formatter], so that no log or error can show the credential.
func (Credential) Format(to fmt.State, _ rune) { io.WriteString(to, "(hidden)") }

// Explanation is how one credential is judged, step by step: its Steps, the Identity, meaningful when Denial is nil,
// and the Denial, nil for an allow. Where several steps fail, it is one of them. A step has its Name, what was Found,
// what it alone would answer (Denial), nil when it passed, and whether it was Reached.
type Explanation = issuer.Explanation

// Explain judges a credential as [Authorizer.Check] would, except for the time budget and for what
// the request is besides (its site, its other cookies), and says how each step went. Once a signature is verified all
// claims are judged, so that several faults show at once. A credential that could not be judged is an outage.
//
// It leaves no trace: nothing is logged, remembered or counted, neither a check nor a use of a former secret, nor a
// query that no check shares. Only the fetch of the JWKS that an unknown kid causes, within the bound that all
// fetches have in common, is counted as one.
func (a *Authorizer) Explain(ctx context.Context, presented Credential) Explanation {
	if presented.presented == nil {
		presented = Bearer("")
	}
	return a.decider.Issuers.Load().Explain(ctx, *presented.presented)
}
