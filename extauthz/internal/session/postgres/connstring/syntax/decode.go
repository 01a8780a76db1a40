package syntax

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// decoder decodes one component of a URL, and tells whether it can be.
type decoder func(string) (string, bool)

func decodeQuery(decode decoder, raw string, asForm bool) (string, bool) {
	if !asForm {
		return decode(raw)
	}
	var decoded []string // a form's spaces are spaces; the decoder judges what is between them
	for part := range strings.SplitSeq(raw, " ") {
		one, ok := decode(part)
		if !ok {
			return "", false
		}
		decoded = append(decoded, one)
	}
	return strings.Join(decoded, " "), true
}

// plusAsSpace finds a + in PostgreSQL's options that can only be a space: no parameter's name begins with one.
var plusAsSpace = regexp.MustCompile(`(^|\s)(-c)\++|\++(-c|--)`)

func spacedOptions(value string) string { return plusAsSpace.ReplaceAllString(value, "$1$2 $3") }

// decodeLibpq is conninfo_uri_decode: percent-encoding is strict, + is itself, spaces around are left out and within
// refused.
func decodeLibpq(raw string) (string, bool) {
	raw = strings.Trim(raw, " ")
	if strings.Contains(raw, " ") {
		return "", false
	}
	var decoded strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			decoded.WriteByte(raw[i])
			continue
		}
		if i+2 >= len(raw) {
			return "", false
		}
		c, ok := hexByte(raw[i+1], raw[i+2])
		if !ok || c == 0 {
			return "", false
		}
		decoded.WriteByte(c)
		i += 2
	}
	return decoded.String(), true
}

// decodePython is urllib's unquote, by which SQLAlchemy and asyncpg read: what is no escape stays as it is.
func decodePython(raw string) (string, bool) {
	var decoded strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && i+2 < len(raw) {
			if c, ok := hexByte(raw[i+1], raw[i+2]); ok {
				decoded.WriteByte(c)
				i += 2
				continue
			}
		}
		decoded.WriteByte(raw[i])
	}
	return decoded.String(), true
}

// nodeEscapes finds a space, or a % that begins no escape.
var nodeEscapes = regexp.MustCompile(`(?i) |%[^a-f0-9]|%[a-f0-9][^a-f0-9]`)

// decodeNode is what pg-connection-string makes of a string in which nodeEscapes finds something: it escapes the whole,
// and takes back only escapes of two decimal digits.
func decodeNode(raw string) (string, bool) {
	var decoded strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && i+2 < len(raw) && isDigit(raw[i+1]) && isDigit(raw[i+2]) {
			c, _ := hexByte(raw[i+1], raw[i+2])
			if c == 0 {
				return "", false
			}
			decoded.WriteByte(c)
			i += 2
			continue
		}
		decoded.WriteByte(raw[i])
	}
	return decoded.String(), utf8.ValidString(decoded.String())
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func hexByte(high, low byte) (c byte, ok bool) {
	for _, digit := range []byte{high, low} {
		switch {
		case isDigit(digit):
			c = c<<4 | (digit - '0')
		case digit|0x20 >= 'a' && digit|0x20 <= 'f':
			c = c<<4 | (digit | 0x20 - 'a' + 10)
		default:
			return 0, false
		}
	}
	return c, true
}
