package extauthz

import (
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/intake"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/show"
	"extauthz/extauthz/internal/verified"
)

const (
	// maxDatabaseConnections bounds Config.DatabaseConnections. Checks share queries, so few are enough.
	maxDatabaseConnections = 1000
	// maxMaxMessageBytes bounds Config.MaxMessageBytes.
	maxMaxMessageBytes = 1 << 30
)

// validate finds what is wrong with the fields that no part looks at itself. The error is a *[ConfigError].
func (c *Config) validate() error {
	fault := func(field, format string, arguments ...any) error {
		return &ConfigError{Field: field, Fault: fmt.Sprintf(format, arguments...)}
	}
	switch {
	case c.MaxMessageBytes < 0 || c.MaxMessageBytes > maxMaxMessageBytes:
		return fault("MaxMessageBytes", "is %d; give a number of bytes up to %d, or 0 for %d", c.MaxMessageBytes,
			maxMaxMessageBytes, intake.DefaultMax)
	case c.Shadow > ShadowReportAndTrustClientHeaders:
		return fault("Shadow", "is %d; give ShadowOff, ShadowReport, "+
			"ShadowHeaders or ShadowReportAndTrustClientHeaders", c.Shadow)
	case math.IsNaN(c.AuditAllowRate) || c.AuditAllowRate > 1:
		return fault("AuditAllowRate", "is %v; give a share up to 1, or a negative number for none", c.AuditAllowRate)
	}
	for field, value := range map[string]any{"Metrics": c.Metrics, "TracerProvider": c.TracerProvider} {
		if value != nil && isNil(value) {
			return fault(field, "holds a nil pointer; leave the field out")
		}
	}
	return nil
}

// A ConfigError tells which field of Config is at fault, in words that end with the fix.
type ConfigError struct {
	Issuer string // the name of the one of Config.Several that is at fault; empty for Config's own fields
	Field  string
	Fault  string // never holds a secret
}

func (e *ConfigError) Error() string {
	if e.Issuer != "" {
		return "issuer " + e.Issuer + ": " + e.Field + " " + e.Fault
	}
	return e.Field + " " + e.Fault
}

func (c *Config) setDefaults() {
	if c.RememberedTokens == 0 {
		c.RememberedTokens = verified.DefaultTokens
	}
	if c.RememberedBytes == 0 {
		c.RememberedBytes = verified.DefaultBytes
	}
	if c.AuditAllowRate == 0 {
		c.AuditAllowRate = 1
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = intake.DefaultMax
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.kinds == nil {
		c.kinds = issuer.Kinds()
	}
	if c.budget == 0 {
		c.budget = decide.TimeBudget
	}
}

// checkURL wants an absolute http or https URL. It never shows a value that could hold a password.
func checkURL(field, value string) error {
	parsed, err := url.Parse(value)
	shown := show.URL(value)
	switch {
	case value == "":
		return &ConfigError{Field: field, Fault: "is empty; write a URL like https://app.example.com"}
	case err != nil:
		return &ConfigError{Field: field, Fault: "is not a URL; write one like https://app.example.com"}
	case parsed.User != nil || strings.Contains(value, "@"):
		return &ConfigError{Field: field, Fault: "holds a user name or password; leave them out"}
	case parsed.Scheme != "http" && parsed.Scheme != "https":
		return &ConfigError{Field: field,
			Fault: fmt.Sprintf("is %q, which does not begin with http:// or https://; write http://… or https://…",
				show.Clip(shown))}
	case parsed.Hostname() == "":
		return &ConfigError{Field: field,
			Fault: fmt.Sprintf("is %q, which has no host; write one like https://app.example.com", show.Clip(shown))}
	case !hasPort(parsed):
		return &ConfigError{Field: field,
			Fault: fmt.Sprintf("is %q, which has an invalid port; ports go up to 65535", show.Clip(shown))}
	case field == "Issuer" && (parsed.RawQuery != "" || parsed.Fragment != "" || parsed.ForceQuery):
		return &ConfigError{Field: field, Fault: "has more than a path; leave out what follows ? or #"}
	}
	return nil
}

// hasPort tells whether a URL's port, where it has one, is one. Package net/url takes any number.
func hasPort(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && port > 0
}
