// Package credential finds the one credential that a request presents and reads it, by its shape alone. It imports
// request, jose, reason and show, and does not know whether a credential is good.
package credential

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/show"
)

// Kind is what a credential looks like; it decides which verifier judges it.
type Kind uint8

const (
	// KindJWT is a JSON Web Token in compact serialization (RFC 7515 §3.1) with an asymmetric algorithm.
	KindJWT Kind = iota
	// KindHS256 is a JSON Web Token signed with a shared secret.
	KindHS256
	// KindSession is one of Better Auth's opaque session tokens, raw or signed.
	KindSession

	Kinds // their number
)

// Credential is what one request presents to prove who sends it. It is a value; copies are independent.
type Credential struct {
	Kind Kind
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
	// maxSessionToken bounds what is asked of PostgreSQL, in bytes. Better Auth's tokens have 32.
	maxSessionToken = 256
	// sessionSignatureLength is HMAC-SHA256 in standard base64 with its padding.
	sessionSignatureLength = 44
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
}

// Find finds the request's one credential: the Authorization header when its scheme is
// Bearer (RFC 6750 §2.1), else the session cookie. A Bearer credential is final, good or bad:
// there is no falling back to the cookie.
func Find(r *request.Request, cookieName string) (Presented, error) {
	if len(r.Authorization) > 1 || (len(r.Authorization) == 1 && strings.Contains(r.Authorization[0], ",")) {
		return Presented{}, reason.Deny(reason.RepeatedAuthorization)
	}
	if len(r.Authorization) == 1 {
		// "Bearer" with nothing behind it brings no credential, as an empty cookie does not.
		if token, isBearer := BearerToken(r.Authorization[0]); isBearer && token != "" {
			return Presented{Text: token}, nil
		}
	}
	if value := SessionCookie(r.Cookies, cookieName); value != "" {
		return Presented{Text: value, Cookie: true}, nil
	}
	return Presented{}, nothingPresented(r)
}

// Read parses the credential.
func (p Presented) Read() (Credential, error) {
	if p.Cookie {
		return ParseCookie(p.Text)
	}
	return ParseBearer(p.Text)
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

// ParseBearer reads the credential of an Authorization header, without its scheme: a JWT, or a
// session token that is raw or signed (`value.signature`), percent-encoded or not. What is none of
// these is a *Denial.
func ParseBearer(token string) (Credential, error) {
	switch {
	case token == "":
		return Credential{}, reason.Deny(reason.MalformedCredential)
	case len(token) > maxCredential:
		return Credential{}, reason.Deny(reason.OversizedCredential)
	case IsCompactJWS(token):
		return parseJWTCredential(token)
	case isCompactJWE(token):
		return Credential{}, reason.Deny(reason.EncryptedToken)
	case strings.HasPrefix(token, CompactCache):
		return Credential{}, reason.Differing(reason.UnsupportedType, "a cookie cache", "a JWT or a session token")
	}
	return parseSession(token)
}

func parseJWTCredential(token string) (Credential, error) {
	parsed, err := jose.Parse(token)
	if err != nil {
		return Credential{}, err
	}
	credential := Credential{Kind: KindJWT, Token: token, JWT: parsed}
	switch {
	case parsed.Algorithm == jose.AlgorithmHS256:
		credential.Kind = KindHS256
	case !slices.Contains(jose.AsymmetricAlgorithms, parsed.Algorithm):
		return Credential{}, reason.Differing(reason.UnsupportedAlgorithm, show.Quoted(parsed.Algorithm),
			show.List(append(jose.AsymmetricAlgorithms, jose.AlgorithmHS256)))
	}
	return credential, nil
}

// ParseCookie reads the value of the session cookie, as it stands in the Cookie header. Anything
// but a signed session token is a *Denial: Better Auth never sets another.
func ParseCookie(value string) (Credential, error) {
	if len(value) > maxCredential {
		return Credential{}, reason.Deny(reason.OversizedCredential)
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	credential, err := parseSession(value)
	if err != nil {
		return Credential{}, err
	}
	if credential.Signature == "" {
		return Credential{}, reason.Deny(reason.UnsignedCookie)
	}
	credential.Cookie = true
	return credential, nil
}

// IsCompactJWS tells a JWT by its form: exactly two dots and characters of base64url only
// (RFC 7515 §3.1). A signed session token is never one, since its signature ends in "=".
func IsCompactJWS(token string) bool {
	dots := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.':
			dots++
		case !isBase64URL(c):
			return false
		}
	}
	return dots == 2
}

func isBase64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// parseSession reads a session token, raw or signed. It decodes percent-encoding once, strictly; a
// "+" stays one, for it is a character of the signature.
func parseSession(text string) (Credential, error) {
	if strings.Contains(text, "%") {
		decoded, err := url.PathUnescape(text)
		if err != nil {
			return Credential{}, reason.Deny(reason.MalformedCredential)
		}
		text = decoded
	}
	value, signature := text, ""
	if dot := strings.LastIndexByte(text, '.'); dot >= 0 {
		value, signature = text[:dot], text[dot+1:]
		if !isSessionSignature(signature) {
			return Credential{}, reason.Deny(reason.MalformedCredential)
		}
	}
	if !isSessionToken(value) {
		return Credential{}, reason.Deny(reason.MalformedCredential)
	}
	return Credential{Kind: KindSession, Token: value, Signature: signature}, nil
}

// isSessionToken keeps out of PostgreSQL what cannot be a session token: Better Auth's are letters
// and digits, a project's own may hold any visible character that needs no quoting in a header.
func isSessionToken(value string) bool {
	if value == "" || len(value) > maxSessionToken {
		return false
	}
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || strings.IndexByte(`.,;"%\`, c) >= 0 {
			return false
		}
	}
	return true
}

func isSessionSignature(signature string) bool {
	if len(signature) != sessionSignatureLength || signature[sessionSignatureLength-1] != '=' {
		return false
	}
	for i := range sessionSignatureLength - 1 {
		c := signature[i]
		if !(isBase64URL(c) || c == '+' || c == '/') || c == '-' || c == '_' {
			return false
		}
	}
	return true
}

// Describe says what a credential is, without any part of it that is secret.
func (c *Credential) Describe() string {
	switch {
	case c.Kind != KindSession:
		return fmt.Sprintf("JWT, alg %s, %d bytes", c.JWT.Algorithm, len(c.Token))
	case c.Cookie:
		return "session token from a cookie, signed"
	case c.Signature != "":
		return "session token, signed"
	}
	return "session token, raw"
}
