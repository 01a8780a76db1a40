package settings

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
)

// The settings that can change at run time. Of DATABASE_URL_FILE and REDIS_URL_FILE that is the path; what stands in the file is read
// anew for each connection. Every other setting waits for a restart.
var (
	secretSettings = []string{"BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_FILE", "BETTER_AUTH_SECRETS",
		"BETTER_AUTH_SECRETS_FILE", "EXTAUTHZ_FORMER_SECRETS"}
	Live = append([]string{"DATABASE_URL_FILE", "REDIS_URL_FILE", "EXTAUTHZ_LOG_LEVEL"}, secretSettings...)
)

// WaitingForRestart names the settings that differ and cannot change at run time. changes identifies the change.
func WaitingForRestart(inForce, fresh *Settings) (names []string, changes string) {
	if (inForce.Issuers == nil) != (fresh.Issuers == nil) {
		return []string{"issuers"}, "a list of issuers in place of one, or the other way round"
	}
	for i := range fresh.Origins {
		before, after := &inForce.Origins[i], &fresh.Origins[i]
		if before.means(after) {
			continue
		}
		changes += after.Variable + "=" + after.Value + "\n"
		turnsOnOrOff := (before.Variable == "DATABASE_URL_FILE" || before.Variable == "REDIS_URL_FILE") && (before.Value == "") != (after.Value == "")
		if turnsOnOrOff || !slices.Contains(Live, before.Variable) {
			names = append(names, before.Variable)
		}
	}
	// What stands in this file is read at the start alone.
	if file := "JWKS_PROXY_FILE"; inForce.Config.JWKSProxy != fresh.Config.JWKSProxy && !slices.Contains(names, file) {
		names = append(names, file)
		changes += file + ":" + fresh.Config.JWKSProxy + "\n"
	}
	return names, changes
}

// RereadSecrets is the same settings with the secrets as their files hold them now.
func (s *Settings) RereadSecrets() (*Settings, error) {
	fresh := *s
	if s.Issuers == nil {
		var err error
		fresh.Config.Secret, fresh.Config.FormerSecrets, err = secretSource(s.Origins).Read()
		return &fresh, err
	}
	fresh.Issuers = make([]*Issuer, len(s.Issuers))
	for n, i := range s.Issuers {
		reread, err := i.Settings.RereadSecrets()
		if err != nil {
			return nil, err
		}
		fresh.Issuers[n] = &Issuer{Name: i.Name, At: i.At, Settings: reread}
	}
	fresh.listIssuers()
	return &fresh, nil
}

// SameIssuers tells whether two lists of issuers mean the same, in the same order.
func SameIssuers(a, b *Settings) bool {
	return slices.EqualFunc(a.Issuers, b.Issuers, func(one, two *Issuer) bool {
		return one.Name == two.Name && one.Fingerprint() == two.Fingerprint()
	})
}

// Fingerprint is the same for settings that mean the same; the database's connection string is not in it, since the
// database follows its file itself. It shows nothing of the secrets.
func (s *Settings) Fingerprint() string {
	sum := sha256.New()
	add := func(value []byte) { fmt.Fprintf(sum, "%d:%s,", len(value), value) }
	for i := range s.Origins {
		if name := s.Origins[i].Variable; name != "DATABASE_URL" && name != "REDIS_URL" {
			add([]byte(s.Origins[i].Value))
		}
	}
	for _, i := range s.Issuers {
		add([]byte(i.Name))
		add([]byte(i.Fingerprint()))
	}
	add([]byte(s.Config.JWKSProxy))
	add(s.Config.Secret)
	for _, former := range s.Config.FormerSecrets {
		add(former)
	}
	return string(sum.Sum(nil))
}

// means tells whether two values of one setting mean the same, as 5m and 300s do, or a list in two spellings.
func (o *Origin) means(other *Origin) bool {
	if o.Value == other.Value {
		return true
	}
	var one, two Settings
	return o.ReadInto(&one) == nil && other.ReadInto(&two) == nil && reflect.DeepEqual(one, two)
}

// ValueOf is a setting's value as it was given.
func (s *Settings) ValueOf(variable string) string {
	for i := range s.Origins {
		if s.Origins[i].Variable == variable {
			return s.Origins[i].Value
		}
	}
	return ""
}

// SameSecrets tells whether the plain settings' secrets are the same, and what former ones are good for.
func SameSecrets(a, b *Settings) bool {
	return bytes.Equal(a.Config.Secret, b.Config.Secret) &&
		slices.EqualFunc(a.Config.FormerSecrets, b.Config.FormerSecrets, bytes.Equal) &&
		a.Config.FormerForHS256 == b.Config.FormerForHS256 && a.Config.FormerForSessions == b.Config.FormerForSessions
}

// Changed names the settings that differ, in more than how they are written.
func Changed(earlier, fresh *Settings) (changed []string) {
	for i := range fresh.Origins {
		before, after := &earlier.Origins[i], &fresh.Origins[i]
		// Another path is told also where both files hold the same.
		if before.Value != after.Value && (slices.Contains(Live, after.Variable) || !before.means(after)) {
			changed = append(changed, after.Variable)
		}
	}
	if !SameIssuers(earlier, fresh) {
		changed = append(changed, "issuers")
	}
	return changed
}
