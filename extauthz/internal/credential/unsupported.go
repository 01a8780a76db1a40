package credential

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// Credentials that other parts of Better Auth take and this server does not. Each is refused as before, with a reason
// that says what came, so that nobody looks for a fault in what is well.

// nothingPresented says what the request brought in place of a credential.
func nothingPresented(r *request.Request) *reason.Denial {
	switch {
	case r.APIKey:
		return reason.Deny(reason.APIKeysNotConfigured)
	case hasCookieCache(r.Cookies):
		return reason.Deny(reason.CookieCacheAlone)
	case len(r.Authorization) == 1:
		if scheme := otherScheme(r.Authorization[0]); scheme != "" {
			return reason.Differing(reason.UnsupportedScheme, scheme, "Bearer")
		}
	}
	return reason.Deny(reason.MissingCredential)
}

// knownSchemes are those of the HTTP Authentication Scheme Registry, and some that are not there. What is none of
// these may be a token, and is not shown.
var knownSchemes = []string{
	"Basic", "Concealed", "Digest", "DPoP", "GNAP", "HOBA", "Mutual", "Negotiate", "NTLM", "OAuth", "PrivateToken",
	"SCRAM-SHA-1", "SCRAM-SHA-256", "vapid",
	"AWS4-HMAC-SHA256", "ApiKey", "Api-Key", "Hawk", "JWT", "MAC", "Session", "SharedKey", "Token",
}

// otherScheme names the scheme of a header that is not Bearer's; it is empty when there is nothing in it, or Bearer.
func otherScheme(authorization string) string {
	authorization = strings.Trim(authorization, " \t")
	if _, isBearer := BearerToken(authorization); isBearer || authorization == "" {
		return ""
	}
	scheme, _, _ := strings.Cut(authorization, " ")
	if i := slices.IndexFunc(knownSchemes, func(known string) bool { return strings.EqualFold(known, scheme) }); i >= 0 {
		return knownSchemes[i]
	}
	return "no known scheme"
}

// cookieCache is how the names of Better Auth's cookie cache end, behind any cookiePrefix.
const cookieCache = ".session_data"

// cookieCaches calls visit for the value of each cookie of the cache, which may come in chunks (.0, .1, …), until it
// returns false.
func cookieCaches(fields []string, visit func(value string) bool) {
	for _, field := range fields {
		for pair := range strings.SplitSeq(field, ";") {
			name, value, found := strings.Cut(strings.Trim(pair, " \t"), "=")
			name = strings.TrimSuffix(strings.TrimRight(name, "0123456789"), ".")
			if found && value != "" && strings.HasSuffix(name, cookieCache) && !visit(value) {
				return
			}
		}
	}
}

func hasCookieCache(fields []string) (has bool) {
	cookieCaches(fields, func(string) bool { has = true; return false })
	return has
}

// HasEncryptedCache tells a cookie cache as a Better Auth without a database has it by default: a JWE with a key that
// is derived from the secret.
func HasEncryptedCache(fields []string) (has bool) {
	cookieCaches(fields, func(value string) bool {
		has = strings.HasPrefix(value, encryptedCache)
		return !has
	})
	return has
}

const (
	// encryptedCache is how such a JWE begins: {"alg":"dir" in base64url.
	encryptedCache = "eyJhbGciOiJkaXIi"
	// CompactCache is how a cookie cache of the strategy compact begins: {"session":{ in base64url.
	CompactCache = "eyJzZXNzaW9uIjp7"
)

// isCompactJWE tells an encrypted JWT by its form: five parts in base64url, the first of them an object with enc
// (RFC 7516 §3.1, §4.1.2).
func isCompactJWE(token string) bool {
	header, rest, _ := strings.Cut(token, ".")
	if strings.Count(rest, ".") != 3 {
		return false
	}
	decoded, err := jose.Base64URL.DecodeString(header)
	if err != nil {
		return false
	}
	hasEncryption := false
	err = jose.ReadObject(decoded, func(name string, value *jsontext.Decoder) error {
		hasEncryption = hasEncryption || name == "enc"
		return value.SkipValue()
	})
	return err == nil && hasEncryption
}
