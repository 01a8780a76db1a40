// Package credential finds the one credential that a request presents, and reads its form. It imports request, jose,
// reason and show. It does not know which kinds of credentials there are, nor whether one is good.
package credential

import (
	"strings"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// Credential is what one request presents to prove who sends it. It is a value; copies are independent.
type Credential struct {
	// Token is the whole JWT, or the session token without its signature.
	Token string
	// Signature is the session token's signature as it came (44 characters of standard base64); empty when raw.
	Signature string
	// Cookie tells that a cookie brought it. Browsers send cookies unasked, so the request's own
	// site counts then, and a signature is required.
	Cookie bool

	JWT jose.Token // the JWT taken apart; empty for a session token
}

const (
	// maxCredential bounds what is read of one credential, in bytes. Envoy's default for all
	// headers of a request is 60 KiB, so no credential that passes Envoy is refused by it.
	maxCredential = 64 << 10
	// DefaultCookie is Better Auth's own name for the session cookie.
	DefaultCookie = "better-auth.session_token"
	// SecurePrefix is what a browser wants before the name of a cookie that only https may set
	// (RFC 6265bis §4.1.3.1).
	SecurePrefix = "__Secure-"
)

// Presented is a credential as it stands in the request, not read yet.
type Presented struct {
	Text   string
	Cookie bool
	Name   string // the cookie's, without what a browser wants before it
}

// Find finds the request's one credential: the Authorization header when its scheme is
// Bearer (RFC 6750 §2.1), else the session cookie. A Bearer credential is final, good or bad:
// there is no falling back to the cookie. Of several cookies the first of the names counts.
func Find(r *request.Request, cookieNames []string) (Presented, error) {
	if len(r.Authorization) > 1 || (len(r.Authorization) == 1 && strings.Contains(r.Authorization[0], ",")) {
		return Presented{}, reason.Deny(reason.RepeatedAuthorization)
	}
	if len(r.Authorization) == 1 {
		// "Bearer" with nothing behind it brings no credential, as an empty cookie does not.
		if token, isBearer := BearerToken(r.Authorization[0]); isBearer && token != "" {
			return Presented{Text: token}, nil
		}
	}
	for _, name := range cookieNames {
		if value := SessionCookie(r.Cookies, name); value != "" {
			return Presented{Text: value, Cookie: true, Name: name}, nil
		}
	}
	return Presented{}, nothingPresented(r)
}

// IsMemorable tells whether it can be a remembered JWT: a Bearer token whose header begins {".
func (p Presented) IsMemorable() bool {
	return !p.Cookie && len(p.Text) <= maxCredential && strings.HasPrefix(p.Text, "eyJ")
}

// BearerToken splits "Bearer token". The scheme's case does not matter (RFC 9110 §11.1). What follows
// the scheme without a space is returned with what parts it from the scheme, and so is no token: it
// is a bad Bearer credential and not some other scheme's.
func BearerToken(authorization string) (token string, isBearer bool) {
	authorization = strings.Trim(authorization, " \t")
	end := 0
	for end < len(authorization) && IsTokenChar(authorization[end]) {
		end++
	}
	if !strings.EqualFold(authorization[:end], "Bearer") {
		return "", false
	}
	return strings.TrimLeft(authorization[end:], " "), true
}

// IsTokenChar is tchar of RFC 9110 §5.6.2.
func IsTokenChar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c != 0 && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// SessionCookie returns the value of the session cookie, empty when there is none. The first of a
// name counts, as in Better Auth; the __Secure- form, which a plain-http page cannot set, goes before
// the other.
func SessionCookie(fields []string, name string) string {
	value, found := "", false
	for _, field := range fields {
		for pair := range strings.SplitSeq(field, ";") {
			key, v, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			switch {
			case !ok:
			case strings.HasPrefix(key, SecurePrefix) && key[len(SecurePrefix):] == name:
				return v
			case key == name && !found:
				value, found = v, true
			}
		}
	}
	return value
}

// IsCompactJWS tells a JWT by its form: exactly two dots and characters of base64url only
// (RFC 7515 §3.1). A signed session token is never one, since its signature ends in "=".
func IsCompactJWS(token string) bool {
	dots := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.':
			dots++
		case !IsBase64URL(c):
			return false
		}
	}
	return dots == 2
}

// IsBase64URL is the alphabet of RFC 4648 §5.
func IsBase64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
