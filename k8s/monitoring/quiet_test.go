package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// series are what Prometheus scrapes, in promtool's own notation of values.
type series map[string]string

// life is when a pod's series begin and end, in scrapes.
type life struct{ from, length int }

// values places values, which are as many as the life is long, into the test's time. A series ends with its target.
func (l life) values(values string) string {
	if l.from > 0 {
		values = fmt.Sprintf("_x%d %s", l.from, values)
	}
	return values + " stale"
}

// always is the life of what neither begins nor ends within a test.
const always = 600

// replica adds what one replica of extauthz reports. It is first scraped when it has counted already, and knows no key
// and no connection then.
func (s series) replica(pod string, l life) {
	labels := fmt.Sprintf(`namespace="extauthz", job="extauthz-admin", pod=%q`, pod)
	steady := func(each int) string { return fmt.Sprintf("%d+%dx%d", each/2, each, l.length) }
	still := func(value int) string { return fmt.Sprintf("%dx%d", value, l.length) }
	for name, values := range map[string]string{
		`extauthz_build_info{`: still(1),
		`extauthz_checks_total{outcome="allow", method="jwks", reason="", `:                         steady(1500),
		`extauthz_checks_total{outcome="deny", method="jwks", reason="expired", `:                   steady(15),
		`extauthz_checks_total{outcome="unavailable", method="session", reason="cancelled", `:       steady(2),
		`extauthz_checks_total{outcome="unavailable", method="none", reason="bad_route_settings", `: still(0),
		`extauthz_checks_total{outcome="unavailable", method="none", reason="internal_error", `:     still(0),
		`extauthz_check_duration_seconds_bucket{method="jwks", le="0.01", `:                         steady(1500),
		`extauthz_check_duration_seconds_bucket{method="jwks", le="+Inf", `:                         steady(1500),
		`extauthz_check_duration_seconds_count{method="jwks", `:                                     steady(1500),
		`extauthz_jwks_age_seconds{`:                        "-1 0 15 30 45 " + still(30),
		`extauthz_jwks_keys{`:                               "0 " + still(1),
		`extauthz_database_connections{`:                    "0 " + still(1),
		`extauthz_database_queries_total{result="ok", `:     steady(500),
		`extauthz_database_queries_total{result="error", `:  still(0),
		`extauthz_database_waiting_checks{`:                 still(20),
		`extauthz_remembered_evictions_total{`:              steady(10),
		`extauthz_remembered_lookups_total{result="miss", `: steady(600),
		`extauthz_shadow{`:                                  still(0),
		`extauthz_former_secret_uses_total{use="hs256", `:   still(0),
		`extauthz_tls_certificate_not_after_seconds{`:       still(9999999),
		`extauthz_audit_dropped_total{`:                     still(0),
		`extauthz_log_dropped_total{`:                       still(0),
	} {
		s[name+labels+"}"] = l.values(values)
	}
}

// envoy adds what one Envoy in front of them reports.
func (s series) envoy(pod string, l life, allowed, denied, unanswered, healthy string) {
	const job = `{namespace="shop", job="shop/envoy", pod=%q, envoy_http_conn_manager_prefix="http"}`
	labels := fmt.Sprintf(job, pod)
	s["envoy_http_ext_authz_ok"+labels] = l.values(allowed)
	s["envoy_http_ext_authz_denied"+labels] = l.values(denied)
	s["envoy_http_ext_authz_error"+labels] = l.values(unanswered)
	s["envoy_http_ext_authz_invalid"+labels] = l.values(fmt.Sprintf("0x%d", l.length))
	s["envoy_http_ext_authz_failure_mode_allowed"+labels] = l.values(fmt.Sprintf("0x%d", l.length))
	s["envoy_http_downstream_rq_total"+labels] = l.values(allowed)
	s[strings.Replace("envoy_cluster_membership_healthy"+labels, `http_conn_manager_prefix="http"`,
		`cluster_name="extauthz"`, 1)] = l.values(healthy)
}

// istio adds the requests of one workload that end so. Their series is born with the first of them.
func (s series) istio(code, flags, values string) {
	s[fmt.Sprintf(`istio_requests_total{namespace="crm", job="istio", reporter="destination", response_code=%q,
		response_flags=%q}`, code, flags)] = values
}

// quiet are times in which no alert may fire.
var quiet = []struct {
	name   string
	scrape string // between two scrapes
	until  string
	series func(series)
}{
	{"an hour in which all is well, and the one before it", "15s", "2h", func(s series) {
		s.replica("a", life{0, always})
		s.replica("b", life{0, always})
		s.envoy("envoy-1", life{0, always}, "0+3000x600", "0+30x600", "0x250 3x350", "2x600")
		s.istio("200", "-", "0+900x600")
		s.istio("401", "UAEX", "_x60 1+30x540")
		s.istio("503", "UF", "_x60 1+30x540") // not by a check
	}},
	// One request a minute. One is not answered; then one query fails and its check with it, a connection is lost and made
	// again, and one check is slow; last Istio's proxy gets no answer, by a series that is born with it.
	{"a night", "1m", "5h", func(s series) {
		l := life{0, 300}
		s.replica("a", l)
		const labels = `namespace="extauthz", job="extauthz-admin", pod="a"}`
		for name, values := range map[string]string{
			`extauthz_checks_total{outcome="allow", method="jwks", reason="", `:                           "0+1x60 60 60+1x239",
			`extauthz_checks_total{outcome="deny", method="jwks", reason="expired", `:                     "0x30 1x200 2x70",
			`extauthz_checks_total{outcome="unavailable", method="session", reason="cancelled", `:         "0x300",
			`extauthz_checks_total{outcome="unavailable", method="none", reason="database_unavailable", `: "0x120 1x180",
			`extauthz_check_duration_seconds_bucket{method="jwks", le="0.01", `:                           "0+1x120 120+1x179",
			`extauthz_check_duration_seconds_bucket{method="jwks", le="+Inf", `:                           "0+1x300",
			`extauthz_check_duration_seconds_count{method="jwks", `:                                       "0+1x300",
			`extauthz_database_queries_total{result="ok", `:                                               "0+1x120 120+1x179",
			`extauthz_database_queries_total{result="error", `:                                            "0x120 1x180",
			`extauthz_database_connections{`:                                                              "1x120 0 1x180",
		} {
			s[name+labels] = l.values(values)
		}
		s.envoy("envoy-1", l, "0+1x60 60+1x239", "0x30 1x200 2x70", "0x60 1x119 2x120", "1x300")
		s.istio("200", "-", "0+1x300")
		s.istio("503", "UAEX", "_x180 1x60 2x60")
	}},
	// Three replicas give way to three others, one a minute, under load. Two checks of each Envoy get no answer each time.
	{"a rolling restart of extauthz", "15s", "50m", func(s series) {
		for i := range 3 {
			s.replica(fmt.Sprintf("old-%d", i), life{0, 60 + 4*i})
			s.replica(fmt.Sprintf("new-%d", i), life{58 + 4*i, 140 - 4*i})
		}
		for _, pod := range []string{"envoy-1", "envoy-2"} {
			s.envoy(pod, life{0, 200}, "0+2250x200", "0+22x200", "0x60 2x4 4x4 6x130", "3x58 4x2 3x2 4x2 3x2 4x2 3x130")
		}
		s.istio("200", "-", "0+900x200")
		s.istio("503", "UAEX", "_x60 2x4 4x4 6x130")
	}},
	// Counters begin anew, and a new Envoy knows no healthy replica until its first health check.
	{"a rolling restart of Envoy", "15s", "50m", func(s series) {
		s.replica("a", life{0, 200})
		for i := range 2 {
			before, after := 60+4*i, 142-4*i
			s.envoy(fmt.Sprintf("old-%d", i), life{0, before}, fmt.Sprintf("0+2250x%d", before),
				fmt.Sprintf("0+22x%d", before), fmt.Sprintf("0x%d", before), fmt.Sprintf("3x%d", before))
			s.envoy(fmt.Sprintf("new-%d", i), life{58 + 4*i, after}, fmt.Sprintf("900+2250x%d", after),
				fmt.Sprintf("0+22x%d", after), fmt.Sprintf("0x%d", after), fmt.Sprintf("0 3x%d", after))
		}
	}},
	{"two minutes without a scrape", "15s", "50m", func(s series) {
		s.replica("a", life{0, 100})
		s.envoy("envoy-1", life{0, 100}, "0+2250x100", "0+22x100", "0x100", "3x100")
		s.istio("503", "UAEX", "700x100")
		for name, values := range s {
			values = strings.TrimSuffix(values, " stale")
			values = strings.NewReplacer("x100", "x40").Replace(values) + " _x8 " +
				strings.NewReplacer("x100", "x160", "0+", "90000+").Replace(values)
			s[name] = values
		}
	}},
}

// Nothing fires while all is well: not in a quiet hour or night, and not while something is deployed.
func TestNothingFires(t *testing.T) {
	rules, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	file.WriteString("rule_files: [alerts.yaml]\nevaluation_interval: 30s\ntests:\n")
	for _, q := range quiet {
		s := series{}
		q.series(s)
		fmt.Fprintf(&file, "  - name: %s\n    interval: %s\n    input_series:\n", q.name, q.scrape)
		for name, values := range s {
			fmt.Fprintf(&file, "      - { series: '%s', values: %q }\n", strings.Join(strings.Fields(name), " "), values)
		}
		expect := func(expression, at, samples string) {
			fmt.Fprintf(&file, "      - { expr: '%s', eval_time: %s, exp_samples: [%s] }\n", expression, at, samples)
		}
		file.WriteString("    promql_expr_test:\n")
		expect(`count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[`+q.until+`]))`, q.until, "")
		expect("count(namespace_job:extauthz_checks:rate5m > 0)", "20m", "{ value: 1 }") // the rules do see the series
	}
	folder := t.TempDir()
	for name, content := range map[string]string{"alerts.yaml": string(rules), "quiet.yaml": file.String()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "test", "rules", filepath.Join(folder, "quiet.yaml"))
}
