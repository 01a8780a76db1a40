package extauthz

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// So many checks, so many counted, each under its reason.
func TestChecksAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Metrics: registry})
	good, forged := signers()["ed"].issue(goodClaims(nil)), signers()["stranger"].issue(goodClaims(nil))
	var checks sync.WaitGroup
	for range 10 {
		checks.Go(func() {
			for range 30 {
				checkToken(t, a, good)
			}
			for range 10 {
				checkToken(t, a, forged)
				checkToken(t, a, "no.token")
			}
		})
	}
	checks.Wait()
	want := `
# HELP extauthz_checks_total Checks by outcome (allow, deny, unavailable), method (jwks, hs256, session, none) and reason (empty when allowed).
# TYPE extauthz_checks_total counter
extauthz_checks_total{method="hs256",outcome="allow",reason=""} 0
extauthz_checks_total{method="jwks",outcome="allow",reason=""} 300
extauthz_checks_total{method="jwks",outcome="deny",reason="bad_signature"} 100
extauthz_checks_total{method="none",outcome="allow",reason=""} 0
extauthz_checks_total{method="none",outcome="deny",reason="malformed_credential"} 100
extauthz_checks_total{method="session",outcome="allow",reason=""} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "extauthz_checks_total"); err != nil {
		t.Error(err)
	}
	families := gather(t, registry)
	if counted := sampleCount(families["extauthz_check_duration_seconds"]); counted != 500 {
		t.Errorf("%d durations, want 500", counted)
	}
	if got := valueOfMetric(families, "extauthz_remembered_tokens", ""); got != 1 {
		t.Errorf("%v tokens remembered, want 1", got)
	}
	hits, misses := valueOfMetric(families, "extauthz_remembered_lookups_total", "hit"), valueOfMetric(families, "extauthz_remembered_lookups_total", "miss")
	if hits+misses != 400 || hits < 290 || hits > 299 {
		t.Errorf("%v hits and %v misses of 400 look-ups, at most 299 of them for a token seen before", hits, misses)
	}
}

// Queries, their size, and the database's connections are counted, an outage as one.
func TestQueriesAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: sessionsDatabase(t), Metrics: registry})
	for range 5 {
		expectReason(t, checkToken(t, a, liveToken), "")
	}
	a.metrics.countQuery(3, time.Second, errors.New("down"))
	families := gather(t, registry)
	for _, row := range []struct {
		name, label string
		want        float64
	}{
		{"extauthz_database_queries_total", resultOK, 5}, {"extauthz_database_queries_total", resultError, 1},
		{"extauthz_database_connections_busy", "", 0}, {"extauthz_database_waiting_checks", "", 0}, {"extauthz_checks_total", string(MethodSession), 5},
	} {
		if got := valueOfMetric(families, row.name, row.label); got != row.want {
			t.Errorf("%s %s is %v, want %v", row.name, row.label, got, row.want)
		}
	}
	if open := valueOfMetric(families, "extauthz_database_connections", ""); open < 1 {
		t.Errorf("%v connections", open)
	}
	if batches := families["extauthz_database_batch_size"].Metric[0].Histogram; batches.GetSampleCount() != 6 || batches.GetSampleSum() != 8 {
		t.Errorf("%d batches of %v checks, want 6 of 8", batches.GetSampleCount(), batches.GetSampleSum())
	}
}

// Each way in which a fetch of the key set ends has its result.
func TestFetchesAreCounted(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil), signers()["weak"].jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		expect := func(result string, want float64) {
			t.Helper()
			if got := testutil.ToFloat64(a.metrics.fetches.WithLabelValues(result)); got != want {
				t.Errorf("%v fetches %s, want %v", got, result, want)
			}
		}
		expect(resultOK, 1)
		if usable := a.keys.usable(); usable != 1 {
			t.Errorf("%d usable keys, want 1 of the 2", usable)
		}
		time.Sleep(30 * time.Second)
		if age := a.keys.age(); age != 30*time.Second {
			t.Errorf("age %s after 30 s", age)
		}
		for _, row := range []struct {
			result string
			answer func(*http.Request) (*http.Response, error)
		}{
			{resultStatus, func(*http.Request) (*http.Response, error) { return httpAnswer(500, nil), nil }},
			{resultInvalid, func(*http.Request) (*http.Response, error) { return httpAnswer(200, []byte("<html>")), nil }},
			{resultUnreachable, func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") }},
		} {
			before := testutil.ToFloat64(a.metrics.fetches.WithLabelValues(row.result))
			issuer.setAnswer(row.answer)
			time.Sleep(2 * refreshInterval)
			if after := testutil.ToFloat64(a.metrics.fetches.WithLabelValues(row.result)); after <= before {
				t.Errorf("no fetch counted as %s", row.result)
			}
		}
	})
}

func gather(t testing.TB, registry *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily)
	for _, family := range families {
		byName[family.GetName()] = family
	}
	return byName
}

// valueOfMetric is the value of a counter or gauge, of the one with this label's value if it has labels.
func valueOfMetric(families map[string]*dto.MetricFamily, name, label string) float64 {
	for _, metric := range families[name].GetMetric() {
		matches := label == ""
		for _, pair := range metric.GetLabel() {
			matches = matches || pair.GetValue() == label
		}
		if matches {
			return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return -1
}

func sampleCount(family *dto.MetricFamily) (count uint64) {
	for _, metric := range family.GetMetric() {
		count += metric.GetHistogram().GetSampleCount()
	}
	return count
}

func BenchmarkCount(b *testing.B) {
	a := startAuthorizer(b, Config{JWKSURL: serveKeys(b, testKeys()).URL, Metrics: prometheus.NewRegistry()})
	var r request
	_, err := findCredential(&r, "")
	denied := &decision{denial: denialOf(err)}
	for name, d := range map[string]*decision{"allow": {method: MethodJWKS}, "deny": denied} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.metrics.count(d, 50*time.Microsecond)
			}
		})
	}
}
