package syntax

import (
	"errors"
	"strings"

	"extauthz/extauthz/internal/session/postgres/connstring/parameter"
)

// ReadKeywords reads libpq's other form, keyword=value with single quotes and backslashes (conninfo_parse).
func ReadKeywords(text string) ([]Pair, error) {
	const space = " \t\n\r\v\f"
	var pairs []Pair
	for text = strings.TrimLeft(text, space); text != ""; text = strings.TrimLeft(text, space) {
		name, after, ok := strings.Cut(text, "=")
		name = strings.TrimRight(name, space)
		if !ok || name == "" || strings.ContainsAny(name, space) {
			return nil, ErrNotConnectionString
		}
		var value string
		if value, text, ok = cutValue(strings.TrimLeft(after, space)); !ok {
			return nil, ErrNotConnectionString
		}
		if parameter.ClassOf(name) == parameter.ClassUnknown {
			// a word of an unquoted password has the same look: not named, and not left out
			return nil, errors.New("has a keyword that PostgreSQL's drivers do not know; " +
				"write host=… user=… password='…' dbname=…, with values that hold spaces in single quotes, " +
				"or postgresql://…")
		}
		pairs = append(pairs, Pair{Name: name, Value: value})
	}
	if len(pairs) == 0 {
		return nil, ErrNotConnectionString
	}
	return pairs, nil
}

// cutValue cuts a value, quoted or up to a space, off the text. A backslash takes the next character as it is.
func cutValue(text string) (value, rest string, ok bool) {
	quoted := strings.HasPrefix(text, "'")
	var read strings.Builder
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i < len(text) {
				read.WriteByte(text[i])
			}
		case quoted && c == '\'':
			return read.String(), text[i+1:], true
		case !quoted && strings.IndexByte(" \t\n\r\v\f", c) >= 0:
			return read.String(), text[i:], true
		default:
			read.WriteByte(c)
		}
	}
	return read.String(), "", !quoted
}
