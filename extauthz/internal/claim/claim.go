// Package claim finds claims of a JWT by name, within objects too, and makes texts of them. It imports jose. It does
// not know what a claim is for, nor whether its token is good.
package claim

import (
	"bytes"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/jose"
)

// Find returns the values of claims by their names, nil for those that are not there. A name with dots reaches into
// objects: o.id is the member id of the claim o. Names may have dots themselves, as those that are URLs; of several
// readings the one whose first name is the longest counts.
func Find(object []byte, names ...string) ([]jsontext.Value, error) {
	found, longest := make([]jsontext.Value, len(names)), make([]int, len(names))
	err := jose.ReadObject(object, func(member string, value *jsontext.Decoder) error {
		var raw jsontext.Value
		for i, name := range names {
			rest, isWithin := strings.CutPrefix(name, member)
			if !isWithin || member == "" || len(member) <= longest[i] || rest != "" && rest[0] != '.' {
				continue
			}
			if raw == nil {
				read, err := value.ReadValue()
				if err != nil {
					return err
				}
				raw = read.Clone()
			}
			here := raw
			if rest != "" {
				if raw.Kind() != '{' {
					continue
				}
				inner, err := Find(raw, rest[1:])
				if err != nil {
					return err
				}
				here = inner[0]
			}
			if here != nil {
				found[i], longest[i] = here, len(member)
			}
		}
		if raw == nil {
			return value.SkipValue()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Text is a claim's value in one line: a text, number or truth value as it is, and those of an array joined by commas,
// as Better Auth writes roles. What cannot be told so is JSON: an object, and an array whose elements hold commas or
// are no such values. Null and what is not there are empty.
func Text(raw jsontext.Value) string {
	switch {
	case len(raw) == 0 || raw.Kind() == 'n':
		return ""
	case raw.Kind() == '[':
		if elements, ok := plainElements(raw); ok {
			return strings.Join(elements, ",")
		}
	case raw.Kind() == '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return ""
		}
		return string(text)
	}
	compact := raw.Clone()
	if err := compact.Compact(); err != nil {
		return ""
	}
	return string(compact)
}

// plainElements are those of an array that can be joined by commas.
func plainElements(raw jsontext.Value) (elements []string, ok bool) {
	decoder := jsontext.NewDecoder(newReader(raw))
	if _, err := decoder.ReadToken(); err != nil {
		return nil, false
	}
	for decoder.PeekKind() != ']' {
		one, err := decoder.ReadValue()
		if err != nil {
			return nil, false
		}
		switch one.Kind() {
		case '"', '0', 't', 'f':
		default:
			return nil, false
		}
		text := Text(one)
		if text == "" || strings.Contains(text, ",") {
			return nil, false
		}
		elements = append(elements, text)
	}
	return elements, true
}

func newReader(raw jsontext.Value) io.Reader { return bytes.NewReader(raw) }
