package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/identity"
)

// LabelIssuer is the label of what is counted for each issuer: its name.
const LabelIssuer = "issuer"

// The values of the label result.
const (
	ResultOK    = "ok"
	ResultError = "error" // of a query
)

// issuerVectors count what is done for each issuer.
type issuerVectors struct {
	fetchResults []string

	checks, fetches, former, queries, connectionFailures *prometheus.CounterVec
	fetchDuration, queryDuration, batchSize              *prometheus.HistogramVec

	redis redisVectors
}

func newIssuerVectors(registerer *Registration, fetchResults []string) issuerVectors {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help},
			append([]string{LabelIssuer}, labels...))
		registerer.MustRegister(vector)
		return vector
	}
	histograms := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		vector := prometheus.NewHistogramVec(histogram(name, help, buckets), []string{LabelIssuer})
		registerer.MustRegister(vector)
		return vector
	}
	return issuerVectors{
		fetchResults: fetchResults,
		checks: counters("extauthz_issuer_checks_total",
			"Checks by issuer and outcome (allow, deny, unavailable).", "outcome"),
		fetches: counters("extauthz_jwks_fetches_total",
			"JWKS fetches by result: ok, unreachable, status (not 200), invalid (not a key set), panic.", "result"),
		fetchDuration: histograms("extauthz_jwks_fetch_duration_seconds",
			"Duration of JWKS fetches, successful or not.", prometheus.ExponentialBuckets(0.001, 2, 13)),
		former: counters("extauthz_former_secret_uses_total",
			"Credentials that a former secret verified, by use: hs256, session.", "use"),
		queries: counters("extauthz_database_queries_total", "Session queries by result: ok, error.", "result"),
		queryDuration: histograms("extauthz_database_query_duration_seconds",
			"Duration of answered session queries.", prometheus.ExponentialBuckets(0.0001, 2, 13)),
		batchSize: histograms("extauthz_database_batch_size",
			"Checks per session query.", prometheus.ExponentialBuckets(1, 2, 10)),
		connectionFailures: counters("extauthz_database_connection_failures_total",
			"Failed attempts to connect to PostgreSQL. Checks do not fail while another connection works."),
		redis: redisVectors{
			trips: counters("extauthz_redis_round_trips_total", "Round trips to Redis by result: ok, error.", "result"),
			failures: counters("extauthz_redis_connection_failures_total",
				"Attempts to connect to Redis that failed. Checks do not fail by it as long as there is a connection."),
			duration: histograms("extauthz_redis_round_trip_duration_seconds",
				"How long a round trip to Redis took that was answered.", prometheus.ExponentialBuckets(0.0001, 2, 13)),
			size: histograms("extauthz_redis_batch_size", "How many questions shared a round trip to Redis; "+
				"a session check asks two, one after the other.", prometheus.ExponentialBuckets(1, 2, 10)),
		},
	}
}

// Issuer counts what is done for one issuer.
type Issuer struct {
	Fetches       map[string]prometheus.Counter          // by result
	FormerSecrets map[identity.Method]prometheus.Counter // uses
	Queries       map[string]prometheus.Counter          // by result
	fetchDuration prometheus.Observer
	queryDuration prometheus.Observer
	batchSize     prometheus.Observer

	ConnectionFailures prometheus.Counter

	redis redisCounts

	As *decision.Issuer // with the counters of its decisions
}

// Issuer begins to count for an issuer. isNamed tells that who is told of a decision is told whose it was.
func (m *Metrics) Issuer(name string, isNamed bool) *Issuer {
	v := &m.issuers
	i := &Issuer{
		Fetches: map[string]prometheus.Counter{}, Queries: map[string]prometheus.Counter{},
		FormerSecrets: map[identity.Method]prometheus.Counter{},
		fetchDuration: v.fetchDuration.WithLabelValues(name), queryDuration: v.queryDuration.WithLabelValues(name),
		batchSize: v.batchSize.WithLabelValues(name), ConnectionFailures: v.connectionFailures.WithLabelValues(name),
		As: &decision.Issuer{Name: name, IsNamed: isNamed,
			Allowed: v.checks.WithLabelValues(name, decision.Allow), Denied: v.checks.WithLabelValues(name, decision.Deny),
			Unavailable: v.checks.WithLabelValues(name, decision.Unavailable)},
	}
	i.redis = v.redis.of(name)
	for _, result := range v.fetchResults {
		i.Fetches[result] = v.fetches.WithLabelValues(name, result)
	}
	for _, result := range []string{ResultOK, ResultError} {
		i.Queries[result] = v.queries.WithLabelValues(name, result)
	}
	for _, method := range []identity.Method{identity.MethodHS256, identity.MethodSession} {
		i.FormerSecrets[method] = v.former.WithLabelValues(name, string(method))
	}
	return i
}

// Forget ends the series of an issuer that there is no more.
func (m *Metrics) Forget(name string) {
	v, of := &m.issuers, prometheus.Labels{LabelIssuer: name}
	for _, vector := range []interface{ DeletePartialMatch(prometheus.Labels) int }{v.checks, v.fetches, v.former,
		v.queries,
		v.connectionFailures, v.fetchDuration, v.queryDuration, v.batchSize} {
		vector.DeletePartialMatch(of)
	}
	v.redis.forget(of)
}

func (i *Issuer) countFetch(result string, took time.Duration) {
	if counter := i.Fetches[result]; counter != nil {
		counter.Inc()
	}
	i.fetchDuration.Observe(took.Seconds())
}

// CountFormer counts a use of a former secret.
func (i *Issuer) CountFormer(method identity.Method) { i.FormerSecrets[method].Inc() }

// CountQuery counts a query for so many sessions.
func (i *Issuer) CountQuery(batch int, took time.Duration, err error) {
	i.batchSize.Observe(float64(batch))
	if err != nil {
		i.Queries[ResultError].Inc()
		return
	}
	i.Queries[ResultOK].Inc()
	i.queryDuration.Observe(took.Seconds())
}
