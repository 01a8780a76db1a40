package jose

import (
	"bytes"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// ban is what Better Auth's admin plugin says of the user in a token's claims: those of its columns banned and
// banExpires, as they were when the token was issued.
type ban struct {
	isBanned    bool
	expires     time.Time // zero where it has no end
	bannedUntil time.Time // zero where the user is not banned; for ever is the last time that a calendar shows
}

// read takes in a claim if it is one of the two, and returns false when it is another one. A value that is not of its
// type is read to the user's disadvantage, as JavaScript reads it: any that is not false, null, 0 or empty bans, and an
// end that is no date is none.
func (b *ban) read(name string, value *jsontext.Decoder) (isRead bool, err error) {
	switch name {
	case "banned":
		raw, err := value.ReadValue()
		if err != nil {
			return true, err
		}
		switch string(raw) {
		case "false", "null", `""`, "0", "-0":
		default:
			b.isBanned = true
		}
	case "banExpires":
		raw, err := value.ReadValue()
		if err != nil {
			return true, err
		}
		b.expires = readDate(raw)
	default:
		return false, nil
	}
	b.bannedUntil = time.Time{}
	if b.isBanned {
		if b.bannedUntil = b.expires; b.expires.IsZero() {
			b.bannedUntil = NumericDate(maxNumericDate).Time()
		}
	}
	return true, nil
}

// readDate reads a date as JavaScript writes it (RFC 3339), or as a number of milliseconds; the zero time for any other
// value.
func readDate(raw jsontext.Value) time.Time {
	switch raw.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return time.Time{}
		}
		date, err := time.Parse(time.RFC3339, string(text))
		if err != nil {
			return time.Time{}
		}
		return date
	case '0':
		decoder := jsontext.NewDecoder(bytes.NewReader(raw))
		token, err := decoder.ReadToken()
		if err != nil {
			return time.Time{}
		}
		milliseconds, err := token.Float()
		if err != nil || !(milliseconds > 0 && milliseconds/1e3 <= maxNumericDate) {
			return time.Time{}
		}
		return time.UnixMilli(int64(milliseconds))
	}
	return time.Time{}
}
