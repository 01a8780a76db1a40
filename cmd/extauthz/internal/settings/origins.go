package settings

import (
	"fmt"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
)

// IsUnset tells whether nobody has given a value and there is no default.
func (o *Origin) IsUnset() bool { return o.Value == "" && o.Name == o.Variable }

// Of reads the values.
func Of(origins []Origin) (*Settings, error) {
	s := &Settings{Origins: origins}
	for i := range origins {
		o := &origins[i]
		if o.isSecret() {
			s.HasFiles = s.HasFiles || o.IsFile() && o.Value != ""
			continue // read together, below
		}
		if err := o.ReadInto(s); err != nil {
			return nil, err
		}
	}
	var err error
	if s.Config.Secret, s.Config.FormerSecrets, err = secretSource(origins).Read(); err != nil {
		return nil, err
	}
	if err := s.TLS.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

// ReadInto reads the value into the settings. Its error names what gave the value.
func (o *Origin) ReadInto(s *Settings) error {
	if o.IsUnset() {
		return nil
	}
	if err := o.read(s, o.Value); err != nil {
		return fmt.Errorf("%s %w", o.Name, err)
	}
	return nil
}

// NameOf is what gave the setting its value, for a fault: the variable, the flag or the file's line.
func (s *Settings) NameOf(variable string) string {
	for i := range s.Origins {
		if s.Origins[i].Variable == variable {
			return s.Origins[i].Name
		}
	}
	return variable
}

// ShownValue is a setting's value for 'extauthz config'.
func (o *Origin) ShownValue() string {
	isURL := strings.HasSuffix(o.Variable, "_URL") || strings.HasSuffix(o.Variable, "_PROXY")
	switch {
	case o.Value == "":
		return "unset"
	case o.Flag == "": // a secret's
		return discreet.Hidden
	case strings.HasSuffix(o.Variable, "_FILE"):
		if discreet.IsNoPath(o.Value) {
			return discreet.Hidden
		}
		return o.Value
	case isURL:
		return discreet.URL(o.Value)
	case strings.Contains(o.Value, "://") || strings.ContainsFunc(o.Value, discreet.IsControl):
		return discreet.Value(o.Value)
	}
	return discreet.Named(o.Value)
}
