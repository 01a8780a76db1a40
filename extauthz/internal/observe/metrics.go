// Package observe tells what is decided: metrics, traces, the log and the audit record. None of them ever waits, and
// one that panics ends nothing. It imports checkwire, decision, request, identity, reason, guard, sampler and show. It
// does not know how a decision is come to.
package observe

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
)

// methodNone is the label of a check that had no credential to judge.
const methodNone = "none"

// Metrics counts what is done. All labels are bounded: they come from the tables in this package. What is
// on the way of every check is found once and kept.
type Metrics struct {
	Checks   *prometheus.CounterVec
	Allowed  map[identity.Method]prometheus.Counter // of checks
	duration map[identity.Method]prometheus.Observer
	Hits     prometheus.Counter // of the memory
	Misses   prometheus.Counter
	Panics   *prometheus.CounterVec

	issuers issuerVectors
}

// nativeFactor is how far apart a native histogram's buckets are: 10 %.
const nativeFactor = 1.1

func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: 100,
		NativeHistogramMinResetDuration: time.Hour}
}

// NewMetrics makes the metrics of a version and adds them to the registration. fetchResults are all results of a
// fetch, and methods all by which a credential is judged.
func NewMetrics(registerer *Registration, version string, fetchResults []string, methods ...identity.Method) *Metrics {
	labels := ""
	for _, method := range methods {
		labels += string(method) + ", "
	}
	labels += methodNone
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		registerer.MustRegister(vector)
		return vector
	}
	m := &Metrics{
		Checks: counters("extauthz_checks_total",
			"Checks by outcome (allow, deny, unavailable), method ("+labels+") and reason (empty when allowed).",
			"outcome", "method", "reason"),
		Panics: counters("extauthz_panics_total",
			"Recovered panics, by where: check, log, audit, trace, jwks, database, redis.", "where"),
		Allowed: make(map[identity.Method]prometheus.Counter), duration: make(map[identity.Method]prometheus.Observer),
		issuers: newIssuerVectors(registerer, fetchResults),
	}
	duration := prometheus.NewHistogramVec(histogram("extauthz_check_duration_seconds",
		"Duration of checks, by method ("+labels+").",
		[]float64{0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.6}),
		[]string{"method"})
	registerer.MustRegister(duration)
	for _, method := range methods {
		m.Allowed[method] = m.Checks.WithLabelValues(decision.Allow, string(method), "")
		m.duration[method] = duration.WithLabelValues(string(method))
	}
	// where a route lets requests without a credential pass
	m.Allowed[""] = m.Checks.WithLabelValues(decision.Allow, methodNone, "")
	m.duration[""] = duration.WithLabelValues(methodNone)
	m.bearDenials(methods)
	lookups := counters("extauthz_remembered_lookups_total",
		"Bearer JWTs, by whether their signature was remembered (hit) or not (miss).", "result")
	m.Hits, m.Misses = lookups.WithLabelValues("hit"), lookups.WithLabelValues("miss")
	for _, place := range guard.Places() {
		m.Panics.WithLabelValues(place)
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "extauthz_build_info", Help: "Always 1; the labels are the versions of this server and of Go.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	registerer.MustRegister(build)
	return m
}

// bearDenials makes the series of every denial, at 0: Prometheus sees no increase in a series whose first value is 1,
// so that the first denial of its reason would raise no alert.
func (m *Metrics) bearDenials(methods []identity.Method) {
	for _, fact := range reason.Facts() {
		outcome := (&decision.Decision{Denial: reason.Deny(fact.Reason)}).Outcome()
		m.Checks.WithLabelValues(outcome, methodNone, string(fact.Reason))
		if fact.Step == reason.StepCredential && fact.Reason != reason.InternalError && fact.Reason != reason.Closed {
			continue // no credential was judged by any method
		}
		for _, method := range methods {
			m.Checks.WithLabelValues(outcome, string(method), string(fact.Reason))
		}
	}
}

// Count counts a decision. It costs 0.05 µs for an allow and 0.12 for a denial (BenchmarkCount).
func (m *Metrics) Count(d *decision.Decision, took time.Duration) {
	m.duration[d.Method].Observe(took.Seconds())
	d.Issuer.Count(d.Outcome())
	if d.Denial == nil {
		m.Allowed[d.Method].Inc()
		return
	}
	method := string(d.Method)
	if method == "" {
		method = methodNone
	}
	m.Checks.WithLabelValues(d.Outcome(), method, string(d.Denial.Reason())).Inc()
}

// CountPanic counts a panic that was recovered.
func (m *Metrics) CountPanic(where string) { m.Panics.WithLabelValues(where).Inc() }
