package extauthz

import (
	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz/internal/observe"
)

// watch registers what is read from the parts when somebody asks.
func (a *Authorizer) watch(registerer *observe.Registration) {
	gauge := func(name, help string, value func() float64) {
		registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("extauthz_shadow", "1 in shadow mode, where every request is allowed and the outcomes are what they would be; else 0.", func() float64 {
		if a.shadow != ShadowOff {
			return 1
		}
		return 0
	})
	gauge("extauthz_remembered_tokens", "Verified JWTs that are remembered.", func() float64 { return float64(a.memory.Stats().Tokens) })
	gauge("extauthz_remembered_bytes", "What the remembered JWTs take, as it is bounded.", func() float64 { return float64(a.memory.Stats().Bytes) })
	registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "extauthz_remembered_evictions_total",
		Help: "Remembered JWTs that gave way to others."}, func() float64 { return float64(a.memory.Stats().Evicted) }))
	gauge("extauthz_message_bytes", "What the messages of checks in flight take, as it is bounded.",
		func() float64 { return float64(a.intake.HeldBytes()) })
	one := a.issuers.all()[0]
	gauge("extauthz_jwks_age_seconds", "Age of the JWKS in use; negative while there is none.", func() float64 { return one.keys.Age().Seconds() })
	gauge("extauthz_jwks_keys", "Keys of the JWKS in use that may verify tokens.", func() float64 { return float64(one.keys.Usable()) })
	if one.database != nil {
		gauge("extauthz_database_connections", "Connections to PostgreSQL that are open.",
			func() float64 { return float64(one.database.Connections()) })
		gauge("extauthz_database_connections_busy", "Connections to PostgreSQL that have a query under way.",
			func() float64 { return float64(one.database.Busy()) })
		gauge("extauthz_database_waiting_checks", "Session checks that wait for their answer.",
			func() float64 { return float64(one.database.Waiting()) })
		if one.database.JudgesLag() {
			gauge("extauthz_database_lag_seconds", "How far the server that answered last was behind its primary, where a standby may answer; 0 for a primary.",
				one.database.LagSeconds)
		}
	}
}
