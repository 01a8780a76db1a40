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
	gauge("extauthz_shadow", "1 in shadow mode, where every request is allowed and the outcomes are what they would be; "+
		"else 0.", func() float64 {
		if a.shadow != ShadowOff {
			return 1
		}
		return 0
	})
	gauge("extauthz_remembered_tokens", "Verified JWTs that are remembered.",
		func() float64 { return float64(a.memory.Stats().Tokens) })
	gauge("extauthz_remembered_bytes", "Memory of the remembered JWTs, as counted against its limit.",
		func() float64 { return float64(a.memory.Stats().Bytes) })
	registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "extauthz_remembered_evictions_total",
		Help: "Remembered JWTs that were evicted."}, func() float64 { return float64(a.memory.Stats().Evicted) }))
	gauge("extauthz_message_bytes", "Memory of the messages of checks in flight, as counted against its limit.",
		func() float64 { return float64(a.intake.HeldBytes()) })
	registerer.MustRegister(issuerGauges{a.issuers})
}

// issuerGauges collects what is read from the parts of each issuer that is in force.
type issuerGauges struct{ issuers *runningIssuers }

// issuerGauge is one thing that is read of an issuer.
type issuerGauge struct {
	described *prometheus.Desc
	value     func(*instance) float64
	isThere   func(*instance) bool
}

func newIssuerGauge(name, help string, isThere func(*instance) bool, value func(*instance) float64) issuerGauge {
	return issuerGauge{prometheus.NewDesc(name, help, []string{observe.LabelIssuer}, nil), value, isThere}
}

func isAlways(*instance) bool      { return true }
func hasRedis(i *instance) bool    { return i.redis != nil }
func hasDatabase(i *instance) bool { return i.database != nil }

var gaugesOfIssuers = []issuerGauge{
	newIssuerGauge("extauthz_jwks_age_seconds", "Age of the JWKS in use; negative if there is none.", isAlways,
		func(i *instance) float64 { return i.keys.Age().Seconds() }),
	newIssuerGauge("extauthz_jwks_keys", "Keys of the JWKS in use that may verify tokens.", isAlways,
		func(i *instance) float64 { return float64(i.keys.Usable()) }),
	newIssuerGauge("extauthz_redis_connections", "Connections to Redis that are open.", hasRedis,
		func(i *instance) float64 { return float64(i.redis.Connections()) }),
	newIssuerGauge("extauthz_redis_connections_busy", "Connections to Redis that have a question under way.", hasRedis,
		func(i *instance) float64 { return float64(i.redis.Busy()) }),
	newIssuerGauge("extauthz_redis_waiting_checks", "Session checks that wait for an answer of Redis.", hasRedis,
		func(i *instance) float64 { return float64(i.redis.Waiting()) }),
	newIssuerGauge("extauthz_database_connections", "Open connections to PostgreSQL.", hasDatabase,
		func(i *instance) float64 { return float64(i.database.Connections()) }),
	newIssuerGauge("extauthz_database_connections_busy", "Connections to PostgreSQL with a query in flight.",
		hasDatabase,
		func(i *instance) float64 { return float64(i.database.Busy()) }),
	newIssuerGauge("extauthz_database_waiting_checks", "Session checks that wait for an answer.", hasDatabase,
		func(i *instance) float64 { return float64(i.database.Waiting()) }),
	newIssuerGauge("extauthz_database_lag_seconds", "How far the server that answered last was behind its primary, "+
		"where a standby may answer; 0 for a primary.",
		func(i *instance) bool { return i.database != nil && i.database.JudgesLag() },
		func(i *instance) float64 { return i.database.LagSeconds() }),
}

// Describe implements [prometheus.Collector].
func (g issuerGauges) Describe(descriptions chan<- *prometheus.Desc) {
	for _, gauge := range gaugesOfIssuers {
		descriptions <- gauge.described
	}
}

// Collect implements [prometheus.Collector].
func (g issuerGauges) Collect(metrics chan<- prometheus.Metric) {
	for _, i := range g.issuers.all() {
		for _, gauge := range gaugesOfIssuers {
			if gauge.isThere(i) {
				metrics <- prometheus.MustNewConstMetric(gauge.described, prometheus.GaugeValue, gauge.value(i), i.config.Name)
			}
		}
	}
}
