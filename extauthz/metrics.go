package extauthz

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label outcome.
const (
	outcomeAllow       = "allow"
	outcomeDeny        = "deny"        // 401 and 403
	outcomeUnavailable = "unavailable" // 503
)

// metrics counts decisions. All labels are bounded: they come from the tables in this package.
type metrics struct {
	checks  *prometheus.CounterVec
	allowed map[Method]prometheus.Counter // of checks, found once
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{checks: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "extauthz_checks_total",
		Help: "Checks by outcome (allow, deny, unavailable), method (jwks, hs256, session, none) and reason (empty when allowed).",
	}, []string{"outcome", "method", "reason"})}
	m.allowed = make(map[Method]prometheus.Counter)
	for _, method := range methodOf {
		m.allowed[method] = m.checks.WithLabelValues(outcomeAllow, string(method), "")
	}
	if registerer != nil {
		registerer.MustRegister(m.checks)
	}
	return m
}

func (m *metrics) count(d *decision) {
	if d.denial == nil {
		m.allowed[d.method].Inc()
		return
	}
	method := string(d.method)
	if method == "" {
		method = "none"
	}
	m.checks.WithLabelValues(d.outcome(), method, string(d.denial.Reason)).Inc()
}

func (d *decision) outcome() string {
	switch {
	case d.denial == nil:
		return outcomeAllow
	case d.denial.Status == http.StatusServiceUnavailable:
		return outcomeUnavailable
	}
	return outcomeDeny
}
