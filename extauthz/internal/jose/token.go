// Package jose reads what RFC 7515 and 7519 describe: tokens in compact form and their claims, as strictly as RFC 8725
// asks. It imports reason, identity and show. It does not know keys, which issuers are accepted, or that there are
// requests.
package jose

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

// AlgorithmHS256 is HMAC with SHA-256 (RFC 7518 §3.2).
const AlgorithmHS256 = "HS256"

// AsymmetricAlgorithms are those that Better Auth can issue.
var AsymmetricAlgorithms = []string{"EdDSA", "ES256", "ES512", "PS256", "RS256"}

// Token is a JSON Web Token in compact serialization, taken apart and not yet believed.
type Token struct {
	Algorithm string // the header's alg; a wish, the key decides
	KeyID     string // the header's kid; empty when absent

	IsAccessToken bool // the header's typ is at+jwt

	Signed    []byte // header and payload as they were signed (RFC 7515 §5.2, step 8)
	Payload   []byte // the claims, still JSON
	Signature []byte
}

// Base64URL is base64url without padding (RFC 7515 §2) that also refuses stray bits after the
// last character, so that a token has one spelling only.
var Base64URL = base64.RawURLEncoding.Strict()

// Parse takes a token apart as strictly as RFC 7515 and RFC 8725 allow. It reads the header
// alone: claims are not looked at before the signature is verified.
func Parse(token string) (Token, error) {
	first, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	// encoding/base64 skips line ends, even where it is strict.
	if first < 0 || first == last || strings.IndexByte(token, '\n') >= 0 || strings.IndexByte(token, '\r') >= 0 {
		return Token{}, reason.Deny(reason.MalformedToken)
	}
	parsed := Token{Signed: []byte(token[:last])}
	header, err1 := Base64URL.DecodeString(token[:first])
	payload, err2 := Base64URL.DecodeString(token[first+1 : last])
	signature, err3 := Base64URL.DecodeString(token[last+1:])
	if err1 != nil || err2 != nil || err3 != nil {
		return Token{}, reason.Deny(reason.MalformedToken)
	}
	parsed.Payload, parsed.Signature = payload, signature
	if err := parsed.readHeader(header); err != nil {
		return Token{}, err
	}
	return parsed, nil
}

// errWrongForm is a JSON value that is not of the form its name asks for.
var errWrongForm = errors.New("not of the right form")

func (t *Token) readHeader(header []byte) error {
	var typ string
	err := ReadObject(header, func(name string, value *jsontext.Decoder) (err error) {
		switch name {
		case "alg":
			t.Algorithm, err = readString(value)
		case "kid":
			t.KeyID, err = readString(value)
		case "typ":
			typ, err = readString(value)
		case "crit", "b64":
			// No extension is understood here, so a token that insists on one is refused
			// (RFC 7515 §4.1.11); an unencoded payload is such an extension (RFC 7797 §6).
			return errWrongForm
		default: // jku, jwk, x5u, x5c: a token does not choose its own key (RFC 8725 §3.10)
			err = value.SkipValue()
		}
		return err
	})
	if err != nil {
		return reason.Deny(reason.MalformedToken)
	}
	// RFC 8725 §3.11: one kind of JWT is not taken for another.
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "", "jwt":
	case "at+jwt": // refused once its signature and times are judged, with a reason of its own
		t.IsAccessToken = true
	default:
		return reason.Differing(reason.UnsupportedType, show.Quoted(typ), `none or "JWT"`)
	}
	return nil
}
