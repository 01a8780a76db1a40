package extauthz

import "extauthz/extauthz/internal/identity"

// Identity is who a request comes from: Subject, the user's id, is never empty; Email and Name are empty when they are
// not known; IssuedAt and ExpiresAt are zero when there is no such time. It is a value; copies are independent.
type Identity = identity.Identity

// Method is how an identity was proven; the backend reads it in x-auth-method.
type Method = identity.Method

// The methods.
const (
	MethodJWKS    = identity.MethodJWKS    // a JWT signed by a key of the issuer's JWKS
	MethodHS256   = identity.MethodHS256   // a JWT signed with the shared secret
	MethodSession = identity.MethodSession // a session token with a live row
)
