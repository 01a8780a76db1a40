package jose

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/show"
)

// Claims are the claims that a check looks at. Which of them a token must have is said by their readers.
type Claims struct {
	Issuer    string
	HasIssuer bool
	Audience  []string
	Subject   string // empty when missing or not a string
	email     string
	name      string

	Profile
	Times
	ban
}

// Times are the claims exp, nbf and iat.
type Times struct{ Expires, notBefore, issuedAt NumericDate }

// NumericDate is RFC 7519 §2's: seconds since 1970-01-01 UTC, with a fraction if the issuer likes. Not a
// number (NaN) when the claim is absent, which no comparison is true of.
type NumericDate float64

func absent() NumericDate { return NumericDate(math.NaN()) }

func (d NumericDate) isPresent() bool { return d == d }

// The years 1 to 9999: what a calendar can show. 1e30 is not a date.
const (
	minNumericDate = -62135596800
	maxNumericDate = 253402300799
)

// Time is the whole second; the zero time when the claim is absent.
func (d NumericDate) Time() time.Time {
	if !d.isPresent() {
		return time.Time{}
	}
	return time.Unix(int64(math.Floor(float64(d))), 0)
}

// ParseClaims reads the claims of a token whose signature is verified. A registered claim that is
// not of its type makes the whole token malformed (RFC 7519 §4.1), except sub, which has an answer of its own.
func ParseClaims(payload []byte) (Claims, error) {
	c := Claims{Times: Times{absent(), absent(), absent()}}
	err := ReadObject(payload, func(name string, value *jsontext.Decoder) (err error) {
		switch name {
		case "iss":
			c.Issuer, err = readString(value)
			c.HasIssuer = true
		case "aud":
			c.Audience, err = readAudience(value)
		case "exp":
			c.Expires, err = readNumericDate(value)
		case "nbf":
			c.notBefore, err = readNumericDate(value)
		case "iat":
			c.issuedAt, err = readNumericDate(value)
		case "jti":
			_, err = readString(value)
		case "sub":
			if value.PeekKind() == '"' {
				c.Subject, err = readString(value)
			} else {
				err = value.SkipValue()
			}
		case "email":
			c.email, err = readStringOrNull(value)
		case "name":
			c.name, err = readStringOrNull(value)
		default:
			var isRead bool
			if isRead, err = c.Profile.read(name, value); !isRead && err == nil {
				isRead, err = c.ban.read(name, value)
			}
			if !isRead && err == nil {
				err = value.SkipValue()
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err == nil && !c.Expires.isPresent() {
		err = errors.New("exp: missing")
	}
	if err != nil {
		return Claims{}, reason.Differing(reason.MalformedClaims, show.Quoted(err.Error()),
			"claims of their types, each once, and exp")
	}
	return c, nil
}

// Identity is what verified claims say of the user.
func (c *Claims) Identity(method identity.Method) identity.Identity {
	return identity.Identity{
		Subject: c.Subject, Email: c.email, Name: c.name, Method: method,
		IssuedAt: c.issuedAt.Time(), ExpiresAt: c.Expires.Time(),
	}
}
