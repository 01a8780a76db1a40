package extauthz

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
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
	want := map[string]float64{"allow jwks ": 300, "deny jwks bad_signature": 100, "deny none malformed_credential": 100}
	counted := checksOf(t, registry)
	maps.DeleteFunc(counted, func(_ string, value float64) bool { return value == 0 })
	if !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
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

// checksOf are the values of extauthz_checks_total by "outcome method reason".
func checksOf(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	values := make(map[string]float64)
	for _, metric := range gather(t, registry)["extauthz_checks_total"].GetMetric() {
		labels := make(map[string]string)
		for _, pair := range metric.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		values[labels["outcome"]+" "+labels["method"]+" "+labels["reason"]] = metric.GetCounter().GetValue()
	}
	return values
}

// Every series of the checks is there at the start, at 0, so that the first of each shows as an increase: no verdict makes
// another. They are few enough for every replica to have them all.
func TestChecksBeginAtZero(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := startAuthorizer(t, Config{
		JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t), Metrics: registry,
	})
	begun := checksOf(t, registry)
	for series, value := range begun {
		if value != 0 {
			t.Errorf("%s begins at %v", series, value)
		}
	}
	const most = 200
	if len(begun) > most {
		t.Errorf("%d series, want at most %d", len(begun), most)
	}
	for _, row := range verdictTable() {
		if _, err := a.Check(t.Context(), wire["headers"](cmp.Or(row.method, "GET"), row.headers)); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]bool) // reasons, by which the table is known to have run
	for series, value := range checksOf(t, registry) {
		if _, known := begun[series]; !known {
			t.Errorf("%s was made by a check", series)
		}
		if value > 0 {
			seen[series] = true
		}
	}
	if len(seen) < 30 {
		t.Errorf("%d series counted anything: %v", len(seen), seen)
	}
	// And each reason has one, whether the table reaches it or not.
	for _, fact := range reason.Facts() {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(begun)), func(series string) bool {
			return strings.HasSuffix(series, " "+string(fact.Reason))
		}) {
			t.Errorf("no series of %s", fact.Reason)
		}
	}
}

// Queries, their size, and the database's connections are counted, an outage as one.
func TestQueriesAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	// Of several connections a slow one's query is asked of another, too.
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: sessionsDatabase(t), DatabaseConnections: 1, Metrics: registry})
	for range 5 {
		expectReason(t, checkToken(t, a, liveToken), "")
	}
	a.only().metrics.CountQuery(3, time.Second, errors.New("down"))
	// A connection is free a moment after its answer was given.
	eventually(t, "the connection to be free", func() bool {
		return valueOfMetric(gather(t, registry), "extauthz_database_connections_busy", "") == 0
	})
	families := gather(t, registry)
	for _, row := range []struct {
		name, label string
		want        float64
	}{
		{"extauthz_database_queries_total", observe.ResultOK, 5}, {"extauthz_database_queries_total", observe.ResultError, 1},
		{"extauthz_database_waiting_checks", "", 0}, {"extauthz_checks_total", string(identity.MethodSession), 5},
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
			if got := testutil.ToFloat64(a.only().metrics.Fetches[result]); got != want {
				t.Errorf("%v fetches %s, want %v", got, result, want)
			}
		}
		expect(observe.ResultOK, 1)
		if usable := a.only().keys.Usable(); usable != 1 {
			t.Errorf("%d usable keys, want 1 of the 2", usable)
		}
		time.Sleep(30 * time.Second)
		if age := a.only().keys.Age(); age != 30*time.Second {
			t.Errorf("age %s after 30 s", age)
		}
		for _, row := range []struct {
			result string
			answer func(*http.Request) (*http.Response, error)
		}{
			{jwks.ResultStatus, func(*http.Request) (*http.Response, error) { return httpAnswer(500, nil), nil }},
			{jwks.ResultInvalid, func(*http.Request) (*http.Response, error) { return httpAnswer(200, []byte("<html>")), nil }},
			{jwks.ResultUnreachable, func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") }},
		} {
			before := testutil.ToFloat64(a.only().metrics.Fetches[row.result])
			issuer.setAnswer(row.answer)
			time.Sleep(2 * keyset.RefreshInterval)
			if after := testutil.ToFloat64(a.only().metrics.Fetches[row.result]); after <= before {
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
	var r request.Request
	_, err := credential.Find(&r, nil)
	denied := &decision.Decision{Denial: reason.Of(err)}
	for name, d := range map[string]*decision.Decision{"allow": {Method: identity.MethodJWKS}, "deny": denied} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.metrics.Count(d, 50*time.Microsecond)
			}
		})
	}
}
