package secondary

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// errCreation says that a session cannot be held against its user's marker.
var errCreation = errors.New("session.createdAt is missing or no date, " +
	"and the user's sessions before a time are revoked")

// IsRevoked tells whether a session was made before its user's marker, which revoke-sessions, a ban, a changed password
// and delete-user set. One that was made in the same millisecond counts, as in Better Auth, and so does a marker that
// is empty or no number. A session that does not say when it was made is refused where there is a marker; Better Auth
// lets it pass.
func (s *Session) IsRevoked(marker string) (bool, error) {
	before := number(marker)
	switch {
	case math.IsNaN(before):
		return false, nil
	case math.IsNaN(s.created):
		return true, errCreation
	}
	return s.created < before, nil
}

// number reads a text as JavaScript's Number() does (ECMA-262, StringToNumber); NaN for what is no number, and for the
// empty text, which there is 0 and comes to the same.
func number(text string) float64 {
	text = strings.TrimFunc(text, isSpace)
	if text == "" {
		return math.NaN()
	}
	if len(text) > 2 && text[0] == '0' {
		base := map[byte]int{'x': 16, 'X': 16, 'o': 8, 'O': 8, 'b': 2, 'B': 2}[text[1]]
		if base != 0 {
			return whole(text[2:], base)
		}
	}
	switch text {
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return math.NaN()
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // past the range it is infinite, as there
		return math.NaN()
	}
	return value
}

// whole reads digits of a base.
func whole(digits string, base int) float64 {
	sum := 0.0
	for _, c := range strings.ToLower(digits) {
		value := strings.IndexRune("0123456789abcdef", c)
		if value < 0 || value >= base {
			return math.NaN()
		}
		sum = sum*float64(base) + float64(value)
	}
	return sum
}

// isSpace tells what JavaScript leaves out at both ends (ECMA-262, WhiteSpace and LineTerminator).
func isSpace(c rune) bool {
	switch c {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return 0x2000 <= c && c <= 0x200a
}
