package jwk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/show"
)

// errWrongForm is a JSON value that is not of the form its name asks for.
var errWrongForm = errors.New("not of the right form")

// MaxKeys bounds the entries of a JWKS. A document of maxDocument bytes could hold a hundred thousand empty ones.
const MaxKeys = 1 << 12

// ParseKeys reads a JWKS document (RFC 7517 §5). One bad key does not spoil the others; what is not a JWKS at all is an
// error. aside are entries that no token can name, or that another with the same kid goes before: each has a fault.
func ParseKeys(document []byte) (keys map[string]*Key, aside []*Key, err error) {
	entries, err := readEntries(document)
	if err != nil {
		return nil, nil, fmt.Errorf("not a JWKS: %w", err)
	}
	keys = make(map[string]*Key, len(entries))
	for i, raw := range entries {
		for _, parsed := range parseKey(raw) {
			switch earlier := keys[parsed.ID]; {
			case parsed.ID == "":
				parsed.Fault = fmt.Sprintf("%s (entry %d of the list)", parsed.Fault, i+1)
				aside = append(aside, parsed)
			case earlier == nil:
				keys[parsed.ID] = parsed
			case earlier.Equal(parsed): // listed twice, which changes nothing
			case earlier.Fault != "" && parsed.Fault == "": // of two keys with one kid, the first good one counts
				aside = append(aside, earlier)
				keys[parsed.ID] = parsed
			default:
				if parsed.Fault == "" {
					parsed.Fault = "another key before it has the same kid, and that one counts"
					parsed.Public, parsed.Algorithm = nil, ""
				}
				aside = append(aside, parsed)
			}
		}
	}
	return keys, aside, nil
}

// readEntries takes the array "keys" out of a JWKS document. What is wrong within an entry is that entry's fault, so
// that repeated names and bytes that are not UTF-8 are let through here (RFC 7517 §4).
func readEntries(document []byte) (entries []jsontext.Value, err error) {
	document = bytes.TrimPrefix(document, []byte("\ufeff")) // a byte order mark may be ignored (RFC 8259 §8.1)
	switch trimmed := bytes.TrimLeft(document, " \t\r\n"); {
	case len(trimmed) == 0:
		return nil, errors.New("the answer is empty")
	case trimmed[0] == '<':
		return nil, errors.New("an HTML or XML page")
	}
	decoder := lenientDecoder(document)
	found := false
	err = readMembers(decoder, func(name string, value jsontext.Value) error {
		switch {
		case name != "keys":
			return nil
		case found:
			return errors.New(`"keys" stands twice`)
		case value.Kind() != '[':
			return errors.New("not a JSON object with an array \"keys\"")
		}
		found = true
		return readElements(value, func(element jsontext.Value) error {
			if len(entries) == MaxKeys {
				return fmt.Errorf("it lists more than %d keys", MaxKeys)
			}
			entries = append(entries, element)
			return nil
		})
	})
	switch {
	case errors.Is(err, errWrongForm):
		return nil, errors.New("not a JSON object with an array \"keys\"")
	case err != nil:
		return nil, err
	case !found:
		return nil, errors.New("no array \"keys\"")
	}
	return entries, nil
}

// lenientDecoder lets repeated names and bytes that are not UTF-8 through, for its user to judge.
func lenientDecoder(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// readMembers hands each member of the one JSON object that the decoder holds to read. What is no such object is
// errWrongForm.
func readMembers(decoder *jsontext.Decoder, read func(name string, value jsontext.Value) error) error {
	if open, err := decoder.ReadToken(); err != nil || open.Kind() != '{' {
		return errWrongForm
	}
	for decoder.PeekKind() != '}' {
		token, err := decoder.ReadToken()
		if err != nil {
			return errWrongForm
		}
		name := token.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return errWrongForm
		}
		if err := read(name, value.Clone()); err != nil {
			return err
		}
	}
	if _, err := decoder.ReadToken(); err != nil {
		return errWrongForm
	}
	if _, err := decoder.ReadToken(); err != io.EOF {
		return errWrongForm // something follows the object
	}
	return nil
}

// readElements hands each element of a JSON array that is well-formed to read.
func readElements(array jsontext.Value, read func(element jsontext.Value) error) error {
	decoder := lenientDecoder(array)
	if _, err := decoder.ReadToken(); err != nil {
		return errWrongForm
	}
	for decoder.PeekKind() != ']' {
		element, err := decoder.ReadValue()
		if err != nil {
			return errWrongForm
		}
		if err := read(element.Clone()); err != nil {
			return err
		}
	}
	return nil
}

// The members of a JWK that are looked at (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2), by what their values must be. null
// counts as absent: issuers write it for what they do not have.
var (
	textMembers    = []string{"kid", "kty", "alg", "use", "crv", "x", "y", "n", "e", "x5u", "x5t", "x5t#S256"}
	listMembers    = []string{"key_ops", "x5c"}
	privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth"}
	publicMembers  = []string{"kty", "crv", "x", "y", "n", "e"}
)

// jwkMembers are the members of one JWK, taken apart and not yet believed.
type jwkMembers struct {
	ids    []string // each kid; more than one only where it stands twice
	texts  map[string]string
	lists  map[string][]string
	names  []string // of all members that are not null
	faults []string // in the order in which they stand
}

// parseKey reads one JWK: one key, with a fault where it may not verify tokens. It is one for each kid where that is
// repeated, so that a token by any of them is refused without asking the issuer again, and one without an id where
// there is none.
func parseKey(raw jsontext.Value) (parsed []*Key) {
	members := readJWK(raw)
	if len(members.ids) == 0 {
		fault := "it has no kid, so no token can name it"
		if len(members.faults) > 0 {
			fault = members.faults[0]
		}
		return []*Key{{Fault: fault}}
	}
	for _, id := range members.ids {
		one := &Key{ID: id}
		if err := one.read(members); err != nil {
			one.Fault = err.Error()
		}
		parsed = append(parsed, one)
	}
	return parsed
}

// readJWK takes a JWK apart.
func readJWK(raw jsontext.Value) jwkMembers {
	m := jwkMembers{texts: map[string]string{}, lists: map[string][]string{}}
	if raw.Kind() != '{' {
		m.fault("it is not a JSON object")
		return m
	}
	if !utf8.Valid(raw) {
		m.fault("it holds bytes that are not UTF-8")
	}
	decoder := lenientDecoder(raw)
	seen := map[string]bool{}
	err := readMembers(decoder, func(name string, value jsontext.Value) error {
		if seen[name] {
			m.fault("its member " + show.Quoted(name) + " stands twice")
		}
		seen[name] = true
		if value.Kind() != 'n' {
			m.names = append(m.names, name)
			m.read(name, value)
		}
		return nil
	})
	if err != nil {
		m.fault("it is not a well-formed JSON object")
	}
	return m
}

// read takes in one member.
func (m *jwkMembers) read(name string, value jsontext.Value) {
	switch {
	case slices.Contains(textMembers, name):
		var text string
		if value.Kind() != '"' || json.Unmarshal(value, &text, jsontext.AllowInvalidUTF8(true)) != nil {
			m.fault("its member " + show.Quoted(name) + " is not a string")
			return
		}
		if name == "kid" && text == "" {
			m.fault("its kid is empty")
		} else if name == "kid" && !slices.Contains(m.ids, text) {
			m.ids = append(m.ids, text)
		}
		m.texts[name] = text
	case slices.Contains(listMembers, name):
		list, isList := []string{}, value.Kind() == '[' && holdsStrings(value)
		if !isList || json.Unmarshal(value, &list, jsontext.AllowInvalidUTF8(true)) != nil {
			m.fault("its member " + show.Quoted(name) + " is not an array of strings")
			return
		}
		m.lists[name] = list
	}
}

// holdsStrings tells whether an array holds strings only; null would be read as an empty one.
func holdsStrings(array jsontext.Value) bool {
	return readElements(array, func(element jsontext.Value) error {
		if element.Kind() != '"' {
			return errWrongForm
		}
		return nil
	}) == nil
}

func (m *jwkMembers) fault(text string) { m.faults = append(m.faults, text) }

// has tells whether one of these members is there.
func (m *jwkMembers) has(names ...string) bool {
	return slices.ContainsFunc(m.names, func(name string) bool { return slices.Contains(names, name) })
}

// read makes the key what its members say. The error is why it may not verify tokens. That a key which signs is
// published is said whatever else is wrong with it.
func (k *Key) read(m jwkMembers) error {
	operations, hasOperations := m.lists["key_ops"]
	switch {
	case m.texts["kty"] == "oct" || m.has("k"):
		return errors.New("symmetric: a key that signs must not be published")
	case m.has(privateMembers...):
		return errors.New("private: a key that signs must not be published")
	case len(m.faults) > 0:
		return errors.New(strings.Join(m.faults[:min(len(m.faults), 3)], "; "))
	case m.texts["use"] != "" && m.texts["use"] != "sig":
		return fmt.Errorf("its use is %q, not \"sig\"", show.Clip(m.texts["use"]))
	case hasOperations && !slices.Contains(operations, "verify"):
		return errors.New("its key_ops do not hold \"verify\"")
	}
	// The JOSE library gets what it needs and nothing that it might judge otherwise.
	public := map[string]string{}
	for _, name := range publicMembers {
		if text, there := m.texts[name]; there {
			public[name] = text
		}
	}
	document, err := json.Marshal(public)
	if err != nil {
		return errors.New("not a well-formed JWK")
	}
	return k.readPublic(document, m.texts["alg"])
}
