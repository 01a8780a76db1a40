package extauthz

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/intake"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/show"
)

const (
	// maxDatabaseConnections bounds Config.DatabaseConnections. Checks share queries, so few are enough.
	maxDatabaseConnections = 1000
	// maxMaxMessageBytes bounds Config.MaxMessageBytes.
	maxMaxMessageBytes = 1 << 30
)

// clone is a copy that shares nothing with what the caller may change later.
func (c Config) clone() Config {
	c.Issuers, c.Audiences, c.KeepHeaders = slices.Clone(c.Issuers), slices.Clone(c.Audiences),
		slices.Clone(c.KeepHeaders)
	c.TrustedOrigins = slices.Clone(c.TrustedOrigins)
	c.Secret, c.FormerSecrets = bytes.Clone(c.Secret), slices.Clone(c.FormerSecrets)
	c.Schema.SessionColumns, c.Schema.UserColumns = maps.Clone(c.Schema.SessionColumns),
		maps.Clone(c.Schema.UserColumns)
	return c
}

// validate finds what is wrong with the fields that no part looks at itself. The error is a *[ConfigError].
func (c *Config) validate() error {
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
	case c.MaxMessageBytes < 0 || c.MaxMessageBytes > maxMaxMessageBytes:
		return fault("MaxMessageBytes", "is %d; give a number of bytes up to %d, or 0 for %d", c.MaxMessageBytes,
			maxMaxMessageBytes, intake.DefaultMax)
	case c.Shadow > ShadowReportAndTrustClientHeaders:
		return fault("Shadow", "is %d; give ShadowOff, ShadowReport, "+
			"ShadowHeaders or ShadowReportAndTrustClientHeaders", c.Shadow)
	case math.IsNaN(c.AuditAllowRate) || c.AuditAllowRate > 1:
		return fault("AuditAllowRate", "is %v; give a share up to 1, or a negative number for none", c.AuditAllowRate)
	case strings.HasPrefix(c.SessionCookie, credential.SecurePrefix):
		return fault("SessionCookie", "is %q; leave out %s, which is accepted by itself", show.Clip(c.SessionCookie),
			credential.SecurePrefix)
	case strings.ContainsFunc(c.SessionCookie, func(r rune) bool { return r > '~' || !credential.IsTokenChar(byte(r)) }):
		return fault("SessionCookie",
			"is %q, which is not a cookie's name (RFC 6265 section 4.1.1); "+
				"write one like myapp.session_token", show.Clip(c.SessionCookie))
	}
	for field, columns := range map[string]map[string]string{"token expiresAt userId": c.Schema.SessionColumns,
		"id email name": c.Schema.UserColumns} {
		for name := range columns {
			if known := strings.Fields(field); !slices.Contains(known, name) {
				return fault("Schema", "names the field %q; the fields are %s", show.Clip(name), strings.Join(known, ", "))
			}
		}
	}
	for field, value := range map[string]any{"Metrics": c.Metrics, "TracerProvider": c.TracerProvider} {
		if value != nil && isNil(value) {
			return fault(field, "holds a nil pointer; leave the field out")
		}
	}
	return nil
}
