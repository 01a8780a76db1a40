package extauthz

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/show"

	"extauthz/extauthz/internal/reason"
)

// jwt is a JSON Web Token in compact serialization, taken apart and not yet believed.
type jwt struct {
	algorithm string // the header's alg; a wish, the key decides
	keyID     string // the header's kid; empty when absent

	isAccessToken bool // the header's typ is at+jwt

	signed    []byte // header and payload as they were signed (RFC 7515 §5.2, step 8)
	payload   []byte // the claims, still JSON
	signature []byte
}

// base64URL is base64url without padding (RFC 7515 §2) that also refuses stray bits after the
// last character, so that a token has one spelling only.
var base64URL = base64.RawURLEncoding.Strict()

// parseJWT takes a token apart as strictly as RFC 7515 and RFC 8725 allow. It reads the header
// alone: claims are not looked at before the signature is verified.
func parseJWT(token string) (jwt, error) {
	first, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	// encoding/base64 skips line ends, even where it is strict.
	if first < 0 || first == last || strings.IndexByte(token, '\n') >= 0 || strings.IndexByte(token, '\r') >= 0 {
		return jwt{}, reason.Deny(ReasonMalformedToken)
	}
	parsed := jwt{signed: []byte(token[:last])}
	header, err1 := base64URL.DecodeString(token[:first])
	payload, err2 := base64URL.DecodeString(token[first+1 : last])
	signature, err3 := base64URL.DecodeString(token[last+1:])
	if err1 != nil || err2 != nil || err3 != nil {
		return jwt{}, reason.Deny(ReasonMalformedToken)
	}
	parsed.payload, parsed.signature = payload, signature
	if err := parsed.readHeader(header); err != nil {
		return jwt{}, err
	}
	return parsed, nil
}

// errWrongForm is a JSON value that is not of the form its name asks for.
var errWrongForm = errors.New("not of the right form")

func (t *jwt) readHeader(header []byte) error {
	var typ string
	err := readObject(header, func(name string, value *jsontext.Decoder) (err error) {
		switch name {
		case "alg":
			t.algorithm, err = readString(value)
		case "kid":
			t.keyID, err = readString(value)
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
		return reason.Deny(ReasonMalformedToken)
	}
	// RFC 8725 §3.11: one kind of JWT is not taken for another.
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "", "jwt":
	case "at+jwt": // refused once its signature and times are judged, with a reason of its own
		t.isAccessToken = true
	default:
		return reason.Differing(ReasonUnsupportedType, show.Quoted(typ), `none or "JWT"`)
	}
	return nil
}

// claims are the claims that a check looks at. Which of them a token must have is said by their readers.
type claims struct {
	issuer    string
	hasIssuer bool
	audience  []string
	subject   string // empty when missing or not a string
	email     string
	name      string

	profile
	times
}

// times are the claims exp, nbf and iat.
type times struct{ expires, notBefore, issuedAt numericDate }

// numericDate is RFC 7519 §2's: seconds since 1970-01-01 UTC, with a fraction if the issuer likes. Not a
// number (NaN) when the claim is absent, which no comparison is true of.
type numericDate float64

func absent() numericDate { return numericDate(math.NaN()) }

func (d numericDate) isPresent() bool { return d == d }

// The years 1 to 9999: what a calendar can show. 1e30 is not a date.
const (
	minNumericDate = -62135596800
	maxNumericDate = 253402300799
)

func (d numericDate) time() time.Time {
	if !d.isPresent() {
		return time.Time{}
	}
	return time.Unix(int64(math.Floor(float64(d))), 0)
}

// parseClaims reads the claims of a token whose signature is verified. A registered claim that is
// not of its type makes the whole token malformed (RFC 7519 §4.1), except sub, which has an answer of its own.
func parseClaims(payload []byte) (claims, error) {
	c := claims{times: times{absent(), absent(), absent()}}
	err := readObject(payload, func(name string, value *jsontext.Decoder) (err error) {
		switch name {
		case "iss":
			c.issuer, err = readString(value)
			c.hasIssuer = true
		case "aud":
			c.audience, err = readAudience(value)
		case "exp":
			c.expires, err = readNumericDate(value)
		case "nbf":
			c.notBefore, err = readNumericDate(value)
		case "iat":
			c.issuedAt, err = readNumericDate(value)
		case "jti":
			_, err = readString(value)
		case "sub":
			if value.PeekKind() == '"' {
				c.subject, err = readString(value)
			} else {
				err = value.SkipValue()
			}
		case "email":
			c.email, err = readStringOrNull(value)
		case "name":
			c.name, err = readStringOrNull(value)
		default:
			var isRead bool
			if isRead, err = c.profile.read(name, value); !isRead {
				err = value.SkipValue()
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err == nil && !c.expires.isPresent() {
		err = errors.New("exp: missing")
	}
	if err != nil {
		return claims{}, reason.Differing(ReasonMalformedClaims, show.Quoted(err.Error()), "claims of their types, each once, and exp")
	}
	return c, nil
}

// readObject reads one JSON object and nothing behind it, and hands each member to read. Repeated
// names, invalid UTF-8 and lone surrogates are errors: jsontext refuses them (RFC 8725 §2.6 and RFC 7493 §2).
func readObject(data []byte, read func(name string, value *jsontext.Decoder) error) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(data))
	if open, err := decoder.ReadToken(); err != nil || open.Kind() != '{' {
		return errors.Join(err, errWrongForm)
	}
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		if err := read(name.String(), decoder); err != nil {
			return err
		}
	}
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	if _, err := decoder.ReadToken(); err != io.EOF {
		return errWrongForm // something follows the object
	}
	return nil
}

func readString(value *jsontext.Decoder) (string, error) {
	token, err := value.ReadToken()
	if err != nil {
		return "", err
	}
	if token.Kind() != '"' {
		return "", errWrongForm
	}
	return token.String(), nil
}

func readStringOrNull(value *jsontext.Decoder) (string, error) {
	if value.PeekKind() == 'n' {
		return "", value.SkipValue()
	}
	return readString(value)
}

// readAudience reads a string, or an array that holds strings only (RFC 7519 §4.1.3).
func readAudience(value *jsontext.Decoder) ([]string, error) {
	if value.PeekKind() != '[' {
		single, err := readString(value)
		return []string{single}, err
	}
	if _, err := value.ReadToken(); err != nil {
		return nil, err
	}
	var audience []string
	for value.PeekKind() != ']' {
		entry, err := readString(value)
		if err != nil {
			return nil, err
		}
		audience = append(audience, entry)
	}
	_, err := value.ReadToken()
	return audience, err
}

func readNumericDate(value *jsontext.Decoder) (numericDate, error) {
	token, err := value.ReadToken()
	if err != nil {
		return absent(), err
	}
	if token.Kind() != '0' {
		return absent(), errWrongForm
	}
	seconds, err := token.Float()
	if err != nil || !(seconds >= minNumericDate && seconds <= maxNumericDate) {
		return absent(), errors.New("not a date")
	}
	return numericDate(seconds), nil
}

// expectations are what a token's claims must meet, for one verifier.
type expectations struct {
	issuers   []string // any of them
	audiences []string // any of them
	leeway    time.Duration
}

// check judges the claims at the given time. Expiry goes first: whatever else is wrong with it, a
// token that was genuine and is past its time is told so. The token's kind goes before its issuer and audience, which
// an operator could otherwise set to those of an OAuth client's tokens, one refusal after the other.
func (e *expectations) check(c *claims, now time.Time) error {
	if err := e.checkTimes(&c.times, now); err != nil {
		return err
	}
	if err := c.profile.check(c.subject); err != nil {
		return err
	}
	if err := e.checkIssuer(c.issuer, c.hasIssuer); err != nil {
		return err
	}
	if err := e.checkAudience(c.audience); err != nil {
		return err
	}
	return checkSubject(c.subject)
}

// recheck is check for a token that passed it before, in what may have changed since: the subject is
// still what it was.
func (e *expectations) recheck(p *proof, now time.Time) error {
	if err := e.checkTimes(&p.times, now); err != nil {
		return err
	}
	if err := e.checkIssuer(p.issuer, true); err != nil {
		return err
	}
	return e.checkAudience(p.audience)
}

// checkTimes follows RFC 7519 §4.1.4 (exp: not on or after), §4.1.5 (nbf: not before) and §4.1.6 (iat).
func (e *expectations) checkTimes(t *times, now time.Time) error {
	current, leeway := numericDate(float64(now.UnixNano())/1e9), numericDate(e.leeway.Seconds())
	differ := func(code Reason, date numericDate) error {
		return reason.Differing(code, show.Time(date.time()), "a time around "+show.Time(now)+", leeway "+e.leeway.String())
	}
	switch {
	case !(current < t.expires+leeway): // exp is required, so that absent would be expired
		return differ(ReasonExpired, t.expires)
	case current < t.notBefore-leeway:
		return differ(ReasonNotYetValid, t.notBefore)
	case current < t.issuedAt-leeway:
		return differ(ReasonIssuedInFuture, t.issuedAt)
	}
	return nil
}

// checkIssuer compares iss octet by octet (RFC 7519 §4.1.1).
func (e *expectations) checkIssuer(issuer string, present bool) error {
	if present && slices.Contains(e.issuers, issuer) {
		return nil
	}
	return reason.Differing(ReasonWrongIssuer, show.Claim(issuer, present), show.List(e.issuers))
}

// checkAudience wants one of ours among the token's (RFC 7519 §4.1.3).
func (e *expectations) checkAudience(audience []string) error {
	for _, one := range audience {
		if slices.Contains(e.audiences, one) {
			return nil
		}
	}
	return reason.Differing(ReasonWrongAudience, show.Claim(strings.Join(audience, ", "), len(audience) > 0), show.List(e.audiences))
}

// identity is what verified claims say of the user.
func (c *claims) identity(method Method) Identity {
	return Identity{
		Subject: c.subject, Email: c.email, Name: c.name, Method: method,
		IssuedAt: c.issuedAt.time(), ExpiresAt: c.expires.time(),
	}
}

// proof is what is remembered of claims that passed the expectations, with no text that those have already.
func (c *claims) proof(expected *expectations, credential *Credential, signer signedBy, identity Identity) *proof {
	p := &proof{
		kind: credential.Kind, signedBy: signer, digest: digestOf(credential.Token), times: c.times,
		issuer: expected.issuers[slices.Index(expected.issuers, c.issuer)],
	}
	for i, audience := range expected.audiences {
		if slices.Contains(c.audience, audience) {
			p.audience = expected.audiences[i : i+1]
			break
		}
	}
	p.answer.set(encodeAllow(&request{}, identity))
	return p
}
