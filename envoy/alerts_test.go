package envoy

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"extauthz/envoy/parts"
)

const alertRules = "../k8s/monitoring/alerts.yaml"

// scrapes are what Prometheus would have scraped, each 15 s after the one before it in its time, which is not that of
// the test: every series with a value at each, or none where its target did not answer.
type scrapes struct {
	values map[string][]string
	count  int
	isDown bool // extauthz does not answer
}

// sample is a line of the text format: a series, with or without labels, and its value.
var sample = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? ([^ \n]+)$`)

// add scrapes Envoy and extauthz once.
func (s *scrapes) add(t *testing.T, m *mesh, wanted map[string]bool) {
	t.Helper()
	for job, url := range map[string]string{
		"envoy": "http://" + m.envoyAdmin + "/stats/prometheus", "extauthz": "http://" + m.admin + "/metrics",
	} {
		if job == "extauthz" && s.isDown {
			continue
		}
		for _, found := range sample.FindAllStringSubmatch(send(t, http.MethodGet, url, nil, "").body, -1) {
			if !wanted[found[1]] {
				continue
			}
			series := fmt.Sprintf("%s{job=%q", found[1], job)
			if found[2] != "" {
				series += ", " + found[2]
			}
			series += "}"
			for len(s.values[series]) < s.count {
				s.values[series] = append(s.values[series], "_")
			}
			s.values[series] = append(s.values[series], found[3])
		}
	}
	s.count++
	for series, values := range s.values {
		if len(values) < s.count {
			s.values[series] = append(values, "stale") // its target is gone
		}
	}
}

// test writes promtool's test of what is expected of the series whose names are not left out.
func (s *scrapes) test(left string, expected map[string]string) string {
	var test strings.Builder
	test.WriteString("  - interval: 15s\n    input_series:\n")
	for series, values := range s.values {
		if left == "" || !strings.HasPrefix(series, left) {
			fmt.Fprintf(&test, "      - { series: '%s', values: '%s' }\n", series, strings.Join(values, " "))
		}
	}
	test.WriteString("    promql_expr_test:\n")
	for expression, samples := range expected {
		at, expression, _ := strings.Cut(expression, " ")
		fmt.Fprintf(&test, "      - { expr: '%s', eval_time: %s, exp_samples: [%s] }\n", expression, at, samples)
	}
	return test.String()
}

// The alert rules see the main outage in what real Envoy and real extauthz report: extauthz stops, or it hangs, or
// Envoy lets pass what it could not check. Each of Envoy's two signs is enough by itself, and the alert ends with the
// outage.
func TestAlertsSeeAnOutage(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(alertRules)
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	metrics := regexp.MustCompile(`\b((?:envoy|extauthz)_[a-z_]+)[^a-z_=!]`) // and not labels, which "=" or "!" follows
	for _, found := range metrics.FindAllStringSubmatch(string(rules), -1) {
		wanted[found[1]] = true
	}
	const accessLog = `                access_log:
                  - name: envoy.access_loggers.stdout
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
                      log_format:
                        text_format_source: { inline_string: "%RESPONSE_CODE% %RESPONSE_FLAGS%\n" }
`
	const beforeLog = "                stat_prefix: http\n"
	firing := func(at, alert string) string {
		return at + ` count(ALERTS{alertname="` + alert + `", alertstate="firing"})`
	}
	stop := func(t *testing.T, m *mesh) { m.extauthz.Stop() }
	start := func(t *testing.T, m *mesh) { m.startExtauthz(t) }
	resume := func(t *testing.T, m *mesh) {
		if err := m.extauthz.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	pause := func(t *testing.T, m *mesh) {
		if err := m.extauthz.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.extauthz.Signal(syscall.SIGCONT) })
	}
	for _, outage := range []struct {
		name   string
		begins func(*testing.T, *mesh)
		ends   func(*testing.T, *mesh)
		closed bool // Envoy refuses what it cannot have checked
	}{
		{"extauthz is stopped", stop, start, true},
		{"extauthz hangs", pause, resume, true},
		{"extauthz is stopped and Envoy fails open", stop, start, false},
	} {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			m := startMeshWith(t, parts.EnvoyNewest, "http.yaml", func(config string) string {
				if !strings.Contains(config, beforeLog) || !strings.Contains(config, "failure_mode_allow: false") {
					t.Fatal("the sample has no such lines")
				}
				config = strings.Replace(config, beforeLog, beforeLog+accessLog, 1)
				return strings.Replace(config, "failure_mode_allow: false",
					fmt.Sprintf("failure_mode_allow: %t", !outage.closed), 1)
			})
			user := m.signUp(t, "Zoë Day")
			bearer := map[string]string{"Authorization": "Bearer " + user.jwt}
			healthy := func() int { return stat(t, "http://"+m.envoyAdmin, "cluster.extauthz.membership_healthy") }
			s := &scrapes{values: map[string][]string{}}
			work := func(times int, ask func(*testing.T, string, map[string]string) answer) (last answer) {
				for range times {
					var beside sync.WaitGroup // a replica that hangs takes each its time
					for _, header := range []map[string]string{bearer, bearer, nil} {
						beside.Go(func() { ask(t, "/api/me", header) })
					}
					last = ask(t, "/api/me", bearer)
					beside.Wait()
					s.add(t, m, wanted)
				}
				return last
			}
			eventually(t, "a healthy replica", func() bool { return healthy() == 1 })
			if last := work(41, m.get); last.status != http.StatusOK { // to 10m
				t.Fatalf("before the outage: %d %s", last.status, last.body)
			}
			outage.begins(t, m)
			s.isDown = true
			eventually(t, "no healthy replica", func() bool { return healthy() == 0 })
			last := work(8, m.getOnce) // to 12m
			if isClosed := last.status == http.StatusServiceUnavailable; isClosed != outage.closed {
				t.Fatalf("in the outage: %d %s", last.status, last.body)
			}
			outage.ends(t, m)
			s.isDown = false
			eventually(t, "a healthy replica", func() bool { return healthy() == 1 })
			work(20, m.get) // to 17m

			for name := range wanted {
				isThere := false
				for series := range s.values {
					isThere = isThere || strings.HasPrefix(series, name+"{")
				}
				if !isThere && strings.HasPrefix(name, "envoy_") {
					t.Errorf("Envoy has no metric %s", name)
				}
			}
			if outage.closed { // by which it is seen in Istio
				eventually(t, "503 UAEX in Envoy's access log", func() bool {
					log, err := os.ReadFile(m.envoy.Log)
					return err == nil && strings.Contains(string(log), "503 UAEX\n")
				})
			}
			open := "{ value: 1 }"
			if outage.closed {
				open = ""
			}
			expected := map[string]string{
				firing("10m", "ExtauthzCutOff"): "", firing("12m", "ExtauthzCutOff"): "{ value: 1 }",
				firing("17m", "ExtauthzCutOff"): "", firing("10m", "ExtauthzFailsOpen"): "",
				firing("12m", "ExtauthzFailsOpen"):       open,
				`10m count(ALERTS{alertstate="firing"})`: "",
			}
			file := "rule_files: [alerts.yaml]\nevaluation_interval: 15s\ntests:\n" + s.test("", expected) +
				s.test("envoy_cluster_membership_healthy", expected) + s.test("envoy_http_ext_authz_error", expected)
			folder := t.TempDir()
			for name, content := range map[string]string{"alerts.yaml": string(rules), "outage.yaml": file} {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			promtool, err := m.installer.Promtool()
			if err != nil {
				t.Fatal(err)
			}
			test := exec.CommandContext(t.Context(), promtool, "test", "rules", filepath.Join(folder, "outage.yaml"))
			if output, err := test.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}
