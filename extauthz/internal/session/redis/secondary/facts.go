package secondary

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/claim"
)

// Fact is one member of a value that is asked for beside those that every check needs.
type Fact struct {
	Of   string // "session" or "user"; empty where neither has it
	Name string
}

// readFacts reads the facts of a value that was read before, in their order: in one line each, as a JWT's claims are. What
// is not there, or null, is empty.
func readFacts(value string, facts []Fact) ([]string, error) {
	decoder := jsontext.NewDecoder(bytes.NewBufferString(value))
	r := &reader{Decoder: decoder}
	found := make([]string, len(facts))
	err := r.object(func(model string) error {
		if model != "session" && model != "user" {
			return r.SkipValue()
		}
		return r.object(func(name string) error {
			raw, err := r.ReadValue()
			if err != nil {
				return err
			}
			for i, fact := range facts {
				if fact.Of == model && fact.Name == name {
					found[i] = claim.Text(raw.Clone())
				}
			}
			return nil
		})
	})
	return found, err
}
