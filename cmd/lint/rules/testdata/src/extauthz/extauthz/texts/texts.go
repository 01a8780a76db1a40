package texts

import (
	"bytes"
	"strings"

	"extauthz/extauthz/internal/checkwire"
)

type named string

func copies(text string, more []string, message []byte, n named) []string {
	kept := []string{
		checkwire.Detach(text),
		strings.Clone(text),        // want `a text outlives its message by checkwire.Detach alone`
		string([]byte(text)),       // want `a text outlives its message by checkwire.Detach alone`
		string([]byte((text))),     // want `a text outlives its message by checkwire.Detach alone`
		string([]byte(n)),          // want `a text outlives its message by checkwire.Detach alone`
		string([]rune(text)),       // want `a text outlives its message by checkwire.Detach alone`
		string(bytes.ToUpper(nil)), // made anew, for another reason
		string(message),            // bytes are no text yet
	}
	clone := strings.Clone
	_ = []byte(text)
	for _, one := range more {
		kept = append(kept, clone(one), string(n))
	}
	return kept
}

type Clone struct{}

func (Clone) Clone(text string) string { return text }

func another(c Clone) string { return c.Clone("a") }

func Detach(text string) string {
	return strings.Clone(text) // want `a text outlives its message by checkwire.Detach alone`
}
