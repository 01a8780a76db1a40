// Package identity is who a request comes from and how that was proven. It imports reason and show. It does not know
// what proved it, nor how the backend is told.
package identity

import (
	"time"
	"unicode"
	"unicode/utf8"

	"extauthz/extauthz/internal/reason"
)

// Method is how an identity was proven; the backend reads it in x-auth-method.
type Method string

const (
	MethodJWKS    Method = "jwks"    // a JWT signed by a key of the issuer's JWKS
	MethodHS256   Method = "hs256"   // a JWT signed with the shared secret
	MethodSession Method = "session" // a session token with a live row
)

// Identity is who a request comes from. It is a value; copies share nothing that changes.
type Identity struct {
	Subject string // the user's id: never empty, no control characters
	Email   string // empty when not known
	Name    string // empty when not known
	Method  Method
	Issuer  string // the name of the issuer that vouches for it; empty where there is one
	// IssuedAt is the JWT's iat (RFC 7519 §4.1.6); the zero time when there is none, as for sessions.
	IssuedAt time.Time
	// ExpiresAt is the JWT's exp (RFC 7519 §4.1.4) or the session's expiresAt.
	ExpiresAt time.Time
	// Further are the facts that were asked for beside these; nil where none were. A session has all of them, in the order
	// they were asked for, some without a value; a JWT those that it has.
	Further []Further
}

// CheckSubject refuses a subject that could not be told apart, or could not travel, in a header or a log line.
func CheckSubject(subject string) error {
	if subject == "" || !utf8.ValidString(subject) {
		return reason.Deny(reason.MissingSubject)
	}
	for _, r := range subject {
		if unicode.IsControl(r) {
			return reason.Deny(reason.MissingSubject)
		}
	}
	return nil
}
