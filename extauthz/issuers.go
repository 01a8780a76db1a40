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
	"reflect"
	"slices"
	"time"
	"unicode"
)

// IssuerConfig is one Better Auth of several ([Config.Several]). Its fields are those of [Config] of the same name, and
// default and mean the same. Nothing of one counts for another: a JWT belongs to the issuer that accepts its iss, a
// cookie to the one that has its name, or, of several with that name, to the one at the request's host or else whose
// signature it has; any other session token to the first in the list that knows it. A route may name the issuers whose
// credentials it takes. With more than one the backend is told the Name of the one that vouches for the user.
type IssuerConfig struct {
	// Name is 1 to 63 letters, digits, dots, hyphens and underscores, and no other issuer's.
	Name                string
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
	RedisURL            string
	ReadRedisURL        func() (string, error)
	RedisPrefix         string
	RedisHashedTokens   bool
	Schema              SchemaNames
	SessionCookie       string
	TrustedOrigins      []string
	RequireSignature    bool

	isRevoked bool // the secret was taken away while the server runs: what needs it is refused from then on
	Identity  []string
}

// defaultName is the name of the issuer that the fields of Config itself make.
const defaultName = "default"

// maxName bounds a name, which stands in headers, logs and metrics.
const maxName = 63

// issuers are the issuers of a configuration.
func (c *Config) issuers() []IssuerConfig {
	if c.Several == nil {
		return []IssuerConfig{c.plain()}
	}
	return c.Several
}

// checkSeveral wants either the fields of one issuer or several.
func (c *Config) checkSeveral() error {
	if c.Several == nil {
		return nil
	}
	plain := reflect.ValueOf(c.plain())
	for i := range plain.NumField() {
		if name := plain.Type().Field(i).Name; name != "Name" && !plain.Field(i).IsZero() {
			return &ConfigError{Field: name, Fault: "and Several are both set; give it to the issuers it is for"}
		}
	}
	return nil
}

// checkNames wants names that differ and can stand anywhere, and an iss, and a cookie at a host, to be one issuer's.
// The issuers are set up by now.
func checkNames(issuers []*instance) error {
	if len(issuers) == 0 {
		return &ConfigError{Field: "Several", Fault: "names no issuer; name one, or leave it out"}
	}
	names, byIss, byCookie := map[string]bool{}, map[string]string{}, map[string]string{}
	for _, i := range issuers {
		name := i.config.Name
		fault := func(field, format string, arguments ...any) error {
			return &ConfigError{Issuer: name, Field: field, Fault: fmt.Sprintf(format, arguments...)}
		}
		if names[name] {
			return fault("Name", "is another issuer's too; give each its own")
		}
		names[name] = true
		for _, iss := range i.issuer.Accepted {
			if other, taken := byIss[iss]; taken {
				return fault("Issuers", "accept %s, which issuer %s does too, so that nobody could tell whose a token is; "+
					"leave it to one of them", show.Quoted(iss), other)
			}
			byIss[iss] = name
		}
		at := i.issuer.Cookie + " at " + i.issuer.Host
		if other, taken := byCookie[at]; taken {
			return fault("SessionCookie", "is %s, and so is that of issuer %s at the same host%s, so that nobody could tell "+
				"whose a cookie is; set Better Auth's cookiePrefix in one of them, and its SessionCookie here",
				show.Quoted(i.issuer.Cookie), other, map[bool]string{false: " " + show.Quoted(i.issuer.Host)}[i.issuer.Host == ""])
		}
		byCookie[at] = name
	}
	return nil
}

// checkName wants a name that can stand in a header, a log, a metric and a route's settings.
func checkName(name string) error {
	fits := name != "" && len(name) <= maxName
	for _, c := range []byte(name) {
		fits = fits && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_' || c == '.')
	}
	if !fits {
		return &ConfigError{Field: "Name", Fault: fmt.Sprintf(
			"is %s; write 1 to %d letters, digits, dots, hyphens and underscores", show.Quoted(name), maxName)}
	}
	return nil
}

// plain is the issuer that the fields of Config itself make. It shares nothing with what the caller may change later.
func (c *Config) plain() IssuerConfig {
	return IssuerConfig{
		Name: defaultName, Issuer: c.Issuer, Issuers: c.Issuers, JWKSURL: c.JWKSURL, JWKSProxy: c.JWKSProxy,
		Audiences: c.Audiences,
		Secret:    c.Secret, FormerSecrets: c.FormerSecrets,
		FormerForHS256: c.FormerForHS256, FormerForSessions: c.FormerForSessions,
		DatabaseURL: c.DatabaseURL, ReadDatabaseURL: c.ReadDatabaseURL, DatabaseConnections: c.DatabaseConnections,
		DatabaseMaxLag: c.DatabaseMaxLag, Schema: c.Schema,
		RedisURL: c.RedisURL, ReadRedisURL: c.ReadRedisURL, RedisPrefix: c.RedisPrefix, RedisHashedTokens: c.RedisHashedTokens,
		SessionCookie: c.SessionCookie, TrustedOrigins: c.TrustedOrigins, RequireSignature: c.RequireSignature,
		Identity: c.Identity,
	}.clone()
}

// clone is a copy that shares nothing with what the caller may change later.
func (c IssuerConfig) clone() IssuerConfig {
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
func (c *IssuerConfig) validate() error {
	fault := func(field, format string, arguments ...any) error {
		return &ConfigError{Field: field, Fault: fmt.Sprintf(format, arguments...)}
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
	case c.ReadRedisURL != nil && c.RedisURL == "":
		return fault("ReadRedisURL",
			"is set without a RedisURL, so that nothing would be asked for sessions; set both")
	case c.RedisURL == "" && (c.RedisPrefix != "" || c.RedisHashedTokens):
		return fault(map[bool]string{true: "RedisPrefix", false: "RedisHashedTokens"}[c.RedisPrefix != ""],
			"is set without a RedisURL, so that it counts for nothing; set both")
	case len(c.RedisPrefix) > 256 || strings.ContainsFunc(c.RedisPrefix, unicode.IsControl):
		return fault("RedisPrefix", "is longer than 256 bytes or holds control characters; write it as Better Auth's adapter has it")
	case strings.HasPrefix(c.SessionCookie, credential.SecurePrefix):
		return fault("SessionCookie", "is %q; leave out %s, which is accepted by itself", show.Clip(c.SessionCookie),
			credential.SecurePrefix)
	case strings.ContainsFunc(c.SessionCookie, func(r rune) bool { return r > '~' || !credential.IsTokenChar(byte(r)) }):
		return fault("SessionCookie",
			"is %q, which is not a cookie's name (RFC 6265 section 4.1.1); "+
				"write one like myapp.session_token", show.Clip(c.SessionCookie))
	case c.RequireSignature && len(c.Secret) == 0 && !c.isRevoked:
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

func (c *IssuerConfig) setDefaults() {
	if c.DatabaseConnections == 0 {
		c.DatabaseConnections = postgres.DefaultConnections
	}
	if c.SessionCookie == "" {
		c.SessionCookie = credential.DefaultCookie
	}
}

// secrets are those of the issuer, and what the former ones are good for.
func (c *IssuerConfig) secrets() Secrets {
	return Secrets{Current: c.Secret, Former: c.FormerSecrets,
		FormerForHS256: c.FormerForHS256, FormerForSessions: c.FormerForSessions}
}

// setSecrets replaces them.
func (c *IssuerConfig) setSecrets(secrets Secrets) {
	c.Secret, c.FormerSecrets = secrets.Current, secrets.Former
	c.FormerForHS256, c.FormerForSessions = secrets.FormerForHS256, secrets.FormerForSessions
	c.isRevoked = len(secrets.Current) == 0
}
