package jose

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// ReadObject reads one JSON object and nothing behind it, and hands each member to read. Repeated
// names, invalid UTF-8 and lone surrogates are errors: jsontext refuses them (RFC 8725 §2.6 and RFC 7493 §2).
func ReadObject(data []byte, read func(name string, value *jsontext.Decoder) error) error {
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

func readNumericDate(value *jsontext.Decoder) (NumericDate, error) {
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
	return NumericDate(seconds), nil
}
