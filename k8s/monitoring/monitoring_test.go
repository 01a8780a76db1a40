// Package monitoring holds a dashboard and alert rules and nothing to import; its tests hold them against the metrics that there
// are (docs/metrics.md, which is made from the running server) and try them with Prometheus' own promtool.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"extauthz/envoy/parts"
)

const (
	promtoolModule  = "github.com/prometheus/prometheus"
	promtoolVersion = "v0.316.0"
)

// promtool installs it once, without the service discoveries that checking rules does not need.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	program, err := installer.GoProgram("promtool", promtoolModule, promtoolVersion, "cmd/promtool", "-tags", "remove_all_sd")
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

func knownMetrics(t *testing.T) map[string]metric {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]metric{ // of the Go client's own collectors
		"process_cpu_seconds_total": {"counter", nil}, "process_resident_memory_bytes": {"gauge", nil},
	}
	row := regexp.MustCompile("(?m)^\\| `(extauthz_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\|")
	for _, match := range row.FindAllStringSubmatch(string(page), -1) {
		metrics[match[1]] = metric{match[2], strings.FieldsFunc(match[3], func(r rune) bool { return strings.ContainsRune("`, ", r) })}
	}
	return metrics
}

var (
	metricName = regexp.MustCompile(`\b(?:extauthz|process)_[a-z_]+\b`)
	selector   = regexp.MustCompile(`\b((?:extauthz|process)_[a-z_]+)(?:\{([^}]*)\})?`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
)

// checkExpression wants metrics that exist, with labels that they have, and counters only as rates.
func checkExpression(t *testing.T, where, expression string, metrics map[string]metric) {
	t.Helper()
	allowed := []string{"instance", "job", "le"}
	for _, found := range selector.FindAllStringSubmatch(expression, -1) {
		name := found[1]
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
			if !slices.Contains(known.labels, label[1]) && !slices.Contains(allowed[:3], label[1]) {
				t.Errorf("%s: %s has no label %s", where, found[1], label[1])
			}
		}
		if known.kind == "counter" && !strings.Contains(expression, "rate(") && !strings.Contains(expression, "increase(") {
			t.Errorf("%s: the counter %s is not a rate", where, found[1])
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if !slices.Contains(allowed, strings.TrimSpace(label)) {
				t.Errorf("%s: no metric there has the label %s", where, strings.TrimSpace(label))
			}
		}
	}
}

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Annotations map[string]string
		}
	}
}

// Each alert asks for metrics that exist, and has its paragraph in the runbook, which has no other.
func TestAlerts(t *testing.T) {
	content, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file rules
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var headings, alerts []string
	for line := range strings.Lines(string(runbook)) {
		if heading, is := strings.CutPrefix(strings.TrimSpace(line), "## "); is {
			headings = append(headings, heading)
		}
	}
	metrics := knownMetrics(t)
	for _, rule := range file.Groups[0].Rules {
		alerts = append(alerts, rule.Alert)
		checkExpression(t, rule.Alert, rule.Expr, metrics)
		if want := "docs/runbook.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook"] != want || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s: annotations %v, want the runbook %s", rule.Alert, rule.Annotations, want)
		}
	}
	if !slices.Equal(alerts, headings) {
		t.Errorf("alerts %v, paragraphs in the runbook %v", alerts, headings)
	}
}

// Each alert fires where it should, and none where all is well.
func TestAlertsFire(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yaml")
	promtool(t, "test", "rules", "alerts_test.yaml", "alerts_days_test.yaml")
	alerts, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, name := range []string{"alerts_test.yaml", "alerts_days_test.yaml"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, content...)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(alerts), -1) {
		if !strings.Contains(string(tests), `alertname="`+alert[1]+`"`) {
			t.Errorf("no test in which %s fires", alert[1])
		}
	}
}

// Each query of the dashboard is PromQL and asks for metrics that exist, and each metric is shown.
func TestDashboard(t *testing.T) {
	content, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	metrics := knownMetrics(t)
	ids := map[int]bool{}
	shown := map[string]bool{}
	var recorded strings.Builder
	recorded.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels with the id %d", panel.ID)
		}
		ids[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("%s: no query", panel.Title)
		}
		for i, target := range panel.Targets {
			checkExpression(t, panel.Title, target.Expr, metrics)
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				shown[name] = true
			}
			expression := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
			encoded, err := json.Marshal(expression)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&recorded, "      - { record: \"panel:%d:%d\", expr: %s }\n", panel.ID, i, encoded)
		}
	}
	for name := range metrics {
		if !shown[name] && !shown[name+"_bucket"] && !shown[name+"_sum"] {
			t.Errorf("no panel shows %s", name)
		}
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, []byte(recorded.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}
