package observe_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/reason"
)

func BenchmarkCount(b *testing.B) {
	metrics := observe.NewMetrics(observe.NewRegistration(prometheus.NewRegistry()), "test", nil, identity.MethodJWKS)
	for name, d := range map[string]*decision.Decision{
		"allow": {Method: identity.MethodJWKS}, "deny": {Denial: reason.Deny(reason.MissingCredential)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				metrics.Count(d, 50*time.Microsecond)
			}
		})
	}
}
