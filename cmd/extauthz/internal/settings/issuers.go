package settings

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"extauthz/extauthz"
)

// Issuer is one of several Better Auths: an item of the list `issuers` of the file.
type Issuer struct {
	Name string
	At   string // the file and the line of the item
	// Settings are those that the item has lines for, and the defaults of the others.
	*Settings
}

// config is the issuer as the library wants it.
func (i *Issuer) config() extauthz.IssuerConfig {
	config := extauthz.IssuerConfig{}
	from, to := reflect.ValueOf(&i.Config).Elem(), reflect.ValueOf(&config).Elem()
	for n := range to.NumField() {
		if field := from.FieldByName(to.Type().Field(n).Name); field.IsValid() {
			to.Field(n).Set(field)
		}
	}
	config.Name = i.Name
	return config
}

// IsIssuers tells whether the setting belongs to one Better Auth, so that it stands in each issuer of a list.
func (s *Setting) IsIssuers() bool {
	name, _, _ := strings.Cut(s.Field, ".")
	_, is := reflect.TypeFor[extauthz.IssuerConfig]().FieldByName(name)
	return is
}

// WithoutDefault tells whether an issuer of a list must have the setting, or another in its place: what is on this machine
// is meant by nobody there.
func (s *Setting) WithoutDefault() bool {
	return s.Variable == "BETTER_AUTH_URL" || s.Variable == "API_AUDIENCE"
}

// SetIssuers makes the settings those of several issuers. at is where their list stands. What belongs to one must not be
// given beside the list: it would count for none.
func (s *Settings) SetIssuers(list []*Issuer, at string) error {
	config := reflect.ValueOf(&s.Config).Elem()
	for i := range s.Origins {
		o := &s.Origins[i]
		if !o.IsIssuers() {
			continue
		}
		if o.From != "default" {
			return fmt.Errorf("%s and a list of issuers (%s) are both set; write it into the issuers that it is for", o.Name, at)
		}
		name, _, _ := strings.Cut(o.Field, ".")
		config.FieldByName(name).SetZero()
	}
	s.Config.FormerForHS256, s.Config.FormerForSessions = false, false
	s.Config.ReadDatabaseURL, s.Config.ReadRedisURL = nil, nil
	s.Issuers = list
	for _, i := range list {
		s.HasFiles = s.HasFiles || i.HasFiles
	}
	s.listIssuers()
	return nil
}

// listIssuers hands the issuers to the library's configuration.
func (s *Settings) listIssuers() {
	s.Config.Several = make([]extauthz.IssuerConfig, len(s.Issuers))
	for n, i := range s.Issuers {
		s.Config.Several[n] = i.config()
	}
}

// issuerNamed finds one of several; nil where there is none.
func (s *Settings) issuerNamed(name string) *Issuer {
	for _, i := range s.Issuers {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// Each is the settings of each issuer, of which the plain ones make one.
func (s *Settings) Each() []*Issuer {
	if s.Issuers == nil {
		return []*Issuer{{Settings: s}}
	}
	return s.Issuers
}

// CheckSecretsStay refuses settings in which an issuer has no secret any more and had one: that is seldom meant.
func (s *Settings) CheckSecretsStay(fresh *Settings) error {
	for _, before := range s.Each() {
		after := fresh
		if s.Issuers != nil {
			named := fresh.issuerNamed(before.Name)
			if named == nil {
				continue // it is gone, and its secret with it
			}
			after = named.Settings
		}
		if len(before.Config.Secret) > 0 && len(after.Config.Secret) == 0 {
			of := ""
			if before.Name != "" {
				of = " of issuer " + before.Name
			}
			return errors.New("the secret" + of + " is gone, which would turn off HS256 tokens and session cookies; " +
				"restart to do without one")
		}
	}
	return nil
}

// secretSource reads the shared secrets from where the settings have them. It is the one way to them, at the start and at
// each reload.
type secretSource []Origin

// Read returns the current secret and those before it, of BETTER_AUTH_SECRETS the newest first; BETTER_AUTH_SECRET beside
// it is the oldest.
func (from secretSource) Read() (current []byte, former [][]byte, err error) {
	var read Settings
	for i := range from {
		if from[i].isSecret() {
			if err := from[i].ReadInto(&read); err != nil {
				return nil, nil, err
			}
		}
	}
	current = read.Config.Secret
	if len(read.secrets) == 0 {
		return current, nil, nil
	}
	for _, one := range read.secrets[1:] {
		former = append(former, []byte(one))
	}
	if current != nil {
		former = append(former, current)
	}
	return []byte(read.secrets[0]), former, nil
}

// isSecret tells whether the setting has shared secrets, or names the file that has them.
func (s *Setting) isSecret() bool { return s.Field == "Secret" }
