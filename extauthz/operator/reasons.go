package operator

import (
	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
)

// Fact is what a reason stands for: the answer that it gives, and how to find and fix its cause.
type Fact = reason.Fact

// Facts returns the reason table, one row a reason, in the order of the check's steps. The slice is the caller's.
func Facts() []Fact { return reason.Facts() }

// Step is one step of an explanation: its Name, what was Found, empty when the step was not reached, what the step
// alone would answer (Denial), nil when it passed or was not reached, and whether it was Reached.
type Step = issuer.Step

// PartOf names the part that judges a credential of this shape, as Authorizer.Missing does; empty when none is asked.
func PartOf(text string, isCookie bool) string {
	return issuer.Kinds().PartOf(credential.Presented{Text: text, Cookie: isCookie})
}

// The headers that the backend gets. Their values are percent-encoded ([EncodeHeader]).
const (
	HeaderUserID    = identity.HeaderUserID    // the subject
	HeaderUserEmail = identity.HeaderUserEmail // when known
	HeaderUserName  = identity.HeaderUserName  // when known
	HeaderMethod    = identity.HeaderMethod    // jwks, hs256 or session
	HeaderIssuedAt  = identity.HeaderIssuedAt  // Unix seconds; JWT only
	HeaderExpiresAt = identity.HeaderExpiresAt // Unix seconds
)

// MethodJWKS is the value of [HeaderMethod] for a JWT signed by a key of the issuer's JWKS.
const MethodJWKS = identity.MethodJWKS

// EncodeHeader makes any text fit for a header's value, so that one percent-decoding gives the original back:
// printable ASCII stays, except "%" and a space at either end; every other byte of the UTF-8 becomes %XX (RFC 3986
// §2.1).
func EncodeHeader(value string) string { return checkwire.EncodeHeader(value) }
