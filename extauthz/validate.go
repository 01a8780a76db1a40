package extauthz

import (
	"fmt"
	"math"

	"extauthz/extauthz/internal/intake"
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
