package extauthz

import (
	"fmt"
	"strings"

	"bytes"
	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/session/postgres/tables"
	"extauthz/extauthz/internal/show"
	"maps"
	"slices"
	"time"
)

// issuerConfig is what belongs to one Better Auth. Its fields are those of [Config] of the same name.
type issuerConfig struct {
	Issuer              string
	Issuers             []string
	JWKSURL             string
	JWKSProxy           string
	Audiences           []string
	Secret              []byte
	FormerSecrets       [][]byte
	FormerForHS256      bool
	FormerForSessions   bool
	DatabaseURL         string
	ReadDatabaseURL     func() (string, error)
	DatabaseConnections int
	DatabaseMaxLag      time.Duration
	Schema              SchemaNames
	SessionCookie       string
	TrustedOrigins      []string
	RequireSignature    bool
	Identity            []string
}

// plain is the issuer that the fields of Config itself make. It shares nothing with what the caller may change later.
func (c *Config) plain() issuerConfig {
	return issuerConfig{
		Issuer: c.Issuer, Issuers: c.Issuers, JWKSURL: c.JWKSURL, JWKSProxy: c.JWKSProxy, Audiences: c.Audiences,
		Secret: c.Secret, FormerSecrets: c.FormerSecrets,
		FormerForHS256: c.FormerForHS256, FormerForSessions: c.FormerForSessions,
		DatabaseURL: c.DatabaseURL, ReadDatabaseURL: c.ReadDatabaseURL, DatabaseConnections: c.DatabaseConnections,
		DatabaseMaxLag: c.DatabaseMaxLag, Schema: c.Schema,
		SessionCookie: c.SessionCookie, TrustedOrigins: c.TrustedOrigins, RequireSignature: c.RequireSignature,
		Identity: c.Identity,
	}.clone()
}

// clone is a copy that shares nothing with what the caller may change later.
func (c issuerConfig) clone() issuerConfig {
	c.Issuers, c.Audiences = slices.Clone(c.Issuers), slices.Clone(c.Audiences)
	c.TrustedOrigins, c.Identity = slices.Clone(c.TrustedOrigins), slices.Clone(c.Identity)
	c.Secret, c.FormerSecrets = bytes.Clone(c.Secret), slices.Clone(c.FormerSecrets)
	for i := range c.FormerSecrets {
		c.FormerSecrets[i] = bytes.Clone(c.FormerSecrets[i])
	}
	c.Schema.SessionColumns, c.Schema.UserColumns = maps.Clone(c.Schema.SessionColumns),
		maps.Clone(c.Schema.UserColumns)
	c.Schema.MemberColumns = maps.Clone(c.Schema.MemberColumns)
	return c
}

// validate finds what is wrong with the fields that no part looks at itself. The error is a *[ConfigError].
func (c *issuerConfig) validate() error {
	fault := func(field, format string, arguments ...any) error {
		return &ConfigError{field, fmt.Sprintf(format, arguments...)}
	}
	switch {
	case len(c.Audiences) == 0:
		return fault("Audiences", "is empty; give the API's URL as it stands in the tokens' aud")
	case slices.ContainsFunc(c.Audiences, func(one string) bool { return strings.TrimSpace(one) == "" }):
		return fault("Audiences", "has an empty entry, which fits tokens that are for nobody; leave it out")
	case c.DatabaseMaxLag < 0:
		return fault("DatabaseMaxLag", "is negative; give how far a standby may be behind, or 0 to ask a primary only")
	case c.DatabaseConnections < 0 || c.DatabaseConnections > maxDatabaseConnections:
		return fault("DatabaseConnections", "is %d; give a number from 1 to %d, or 0 for %d", c.DatabaseConnections,
			maxDatabaseConnections, postgres.DefaultConnections)
	case c.ReadDatabaseURL != nil && c.DatabaseURL == "":
		return fault("ReadDatabaseURL",
			"is set without a DatabaseURL, so that nothing would be asked for sessions; set both")
	case strings.HasPrefix(c.SessionCookie, credential.SecurePrefix):
		return fault("SessionCookie", "is %q; leave out %s, which is accepted by itself", show.Clip(c.SessionCookie),
			credential.SecurePrefix)
	case strings.ContainsFunc(c.SessionCookie, func(r rune) bool { return r > '~' || !credential.IsTokenChar(byte(r)) }):
		return fault("SessionCookie",
			"is %q, which is not a cookie's name (RFC 6265 section 4.1.1); "+
				"write one like myapp.session_token", show.Clip(c.SessionCookie))
	case c.RequireSignature && len(c.Secret) == 0:
		return fault("RequireSignature",
			"is true, and no secret is set to check a signature with; set Better Auth's secret, or leave it out")
	}
	for _, model := range []struct {
		columns map[string]string
		known   []string
	}{
		{c.Schema.SessionColumns, tables.SessionFields}, {c.Schema.UserColumns, tables.UserFields},
		{c.Schema.MemberColumns, tables.MemberFields},
	} {
		for name := range model.columns {
			if known := model.known; !slices.Contains(known, name) {
				return fault("Schema", "names the field %q; the fields are %s", show.Clip(name), strings.Join(known, ", "))
			}
		}
	}
	return nil
}

func (c *issuerConfig) setDefaults() {
	if c.DatabaseConnections == 0 {
		c.DatabaseConnections = postgres.DefaultConnections
	}
	if c.SessionCookie == "" {
		c.SessionCookie = credential.DefaultCookie
	}
}

// secrets are those of the issuer, and what the former ones are good for.
func (c *issuerConfig) secrets() Secrets {
	return Secrets{Current: c.Secret, Former: c.FormerSecrets,
		FormerForHS256: c.FormerForHS256, FormerForSessions: c.FormerForSessions}
}

// setSecrets replaces them.
func (c *issuerConfig) setSecrets(secrets Secrets) {
	c.Secret, c.FormerSecrets = secrets.Current, secrets.Former
	c.FormerForHS256, c.FormerForSessions = secrets.FormerForHS256, secrets.FormerForSessions
}
