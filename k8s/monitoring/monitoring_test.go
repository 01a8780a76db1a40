// Package monitoring holds a dashboard and alert rules and nothing to import; its tests hold them against the metrics
// that there are (docs/metrics.md, which is made from the running server) and try them with Prometheus' own promtool.
package monitoring

import (
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"extauthz/envoy/parts"
)

// promtool runs it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	program, err := installer.Promtool()
	if err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

// metric is a metric's type and labels, as docs/metrics.md has them.
type metric struct {
	kind   string
	labels []string
}

// others are metrics that are not this server's: of the Go client, of Envoy (package envoy has a test that it does have
// them), of Istio's proxies (https://istio.io/latest/docs/reference/config/metrics/), and what alerts.yaml records.
var others = func() map[string]metric {
	metrics := map[string]metric{
		"process_cpu_seconds_total":             {"counter", nil},
		"process_resident_memory_bytes":         {"gauge", nil},
		"envoy_cluster_membership_healthy":      {"gauge", []string{"envoy_cluster_name"}},
		"envoy_http_downstream_rq_total":        {"counter", []string{"envoy_http_conn_manager_prefix"}},
		"namespace_job_outcome:extauthz_checks": {"gauge", []string{"outcome"}},
		"namespace_job:extauthz_checks":         {"gauge", nil},
		"extauthz_proxies:requests":             {"gauge", nil},
		"istio_requests_total": {"counter", []string{"reporter", "response_code", "response_flags",
			"destination_service_name", "destination_service_namespace"}},
	}
	for _, name := range []string{"ok", "denied", "error", "invalid", "disabled", "failure_mode_allowed"} {
		metrics["envoy_http_ext_authz_"+name] = metric{"counter", []string{"envoy_http_conn_manager_prefix"}}
	}
	return metrics
}()

// knownMetrics are this server's and the others.
func knownMetrics(t *testing.T) map[string]metric {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics := maps.Clone(others)
	row := regexp.MustCompile("(?m)^\\| `(extauthz_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\|")
	isBetween := func(r rune) bool { return strings.ContainsRune("`, ", r) }
	for _, match := range row.FindAllStringSubmatch(string(page), -1) {
		metrics[match[1]] = metric{match[2], strings.FieldsFunc(match[3], isBetween)}
	}
	return metrics
}

var (
	selector = regexp.MustCompile(
		`\b((?:extauthz|process|envoy|istio|namespace)_[a-z_]+(?::[a-z_]+)?(?::rate5m)?)(?:\{([^}]*)\})?`)
	grouping = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
)

// targetLabels are what Prometheus adds to every series, some of them the operator alone.
var targetLabels = []string{"instance", "job", "namespace", "pod"}

// checkExpression wants metrics that exist, with labels that they have, and counters only as rates.
func checkExpression(t *testing.T, where, expression string, metrics map[string]metric) {
	t.Helper()
	allowed := slices.Concat(targetLabels, []string{"le"})
	withoutText := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expression, `""`)
	for _, found := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(withoutText, ""), -1) {
		name := strings.TrimSuffix(found[1], ":rate5m")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && metrics[base].kind == "histogram" {
				name = base
			}
		}
		known, exists := metrics[name]
		if !exists {
			t.Errorf("%s: there is no metric %s", where, found[1])
			continue
		}
		allowed = append(allowed, known.labels...)
		for _, label := range matcher.FindAllStringSubmatch(found[2], -1) {
			if !slices.Contains(known.labels, label[1]) && !slices.Contains(targetLabels, label[1]) && label[1] != "le" {
				t.Errorf("%s: %s has no label %s", where, found[1], label[1])
			}
		}
		isRate := strings.Contains(expression, "rate(") || strings.Contains(expression, "increase(")
		if known.kind == "counter" && !isRate {
			t.Errorf("%s: the counter %s is not a rate", where, found[1])
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !slices.Contains(allowed, label) {
				t.Errorf("%s: no metric there has the label %s", where, label)
			}
		}
	}
}
