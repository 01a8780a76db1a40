package extauthz

import "extauthz/extauthz/internal/credential"

// Credential is what one request presents to prove who sends it, as [ParseBearer] or [ParseCookie] read it. It is a
// value; copies are independent.
type Credential = credential.Credential

// Kind is what a credential looks like; it decides how it is judged.
type Kind = credential.Kind

// The kinds of credentials.
const (
	KindJWT     = credential.KindJWT     // a JSON Web Token (RFC 7515 §3.1) with an asymmetric algorithm
	KindHS256   = credential.KindHS256   // a JSON Web Token signed with a shared secret
	KindSession = credential.KindSession // one of Better Auth's opaque session tokens, raw or signed
)

// ParseBearer reads the credential of an Authorization header, without its scheme: a JWT, or a session token that is
// raw or signed (`value.signature`), percent-encoded or not. The error for what is none of these is a *[Denial].
func ParseBearer(token string) (Credential, error) { return credential.ParseBearer(token) }

// ParseCookie reads the value of the session cookie, as it stands in the Cookie header. The error for anything but a
// signed session token is a *[Denial].
func ParseCookie(value string) (Credential, error) { return credential.ParseCookie(value) }
