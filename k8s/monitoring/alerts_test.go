package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rules are a file of rules for Prometheus.
type rules struct {
	Groups []struct {
		Name, Interval string
		Rules          []struct {
			Alert, Record, Expr string
			Labels, Annotations map[string]string
		}
	}
}

func readRules(t *testing.T) (text []byte, file rules) {
	t.Helper()
	text, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return text, file
}

// Each alert asks for metrics that exist, and has its paragraph in the runbook, which has no other.
func TestAlerts(t *testing.T) {
	_, file := readRules(t)
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var headings, alerts []string
	for line := range strings.Lines(string(runbook)) {
		if heading, is := strings.CutPrefix(strings.TrimSpace(line), "## Extauthz"); is {
			headings = append(headings, "Extauthz"+heading)
		}
	}
	metrics := knownMetrics(t)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			checkExpression(t, rule.Alert+rule.Record, rule.Expr, metrics)
			if rule.Record != "" {
				continue
			}
			alerts = append(alerts, rule.Alert)
			told := rule.Annotations["summary"] != "" && rule.Annotations["description"] != ""
			if want := "docs/runbook.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook"] != want || !told {
				t.Errorf("%s: annotations %v, want the runbook %s", rule.Alert, rule.Annotations, want)
			}
			if severity := rule.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, severity) {
				t.Errorf("%s: severity %q", rule.Alert, severity)
			}
			// Two deployments in one Prometheus are two: neither hides the other.
			if strings.Contains(rule.Expr, "sum(") || strings.Contains(rule.Expr, "count(") {
				t.Errorf("%s sums over every target in Prometheus", rule.Alert)
			}
		}
	}
	if !slices.Equal(alerts, headings) {
		t.Errorf("alerts %v, paragraphs in the runbook %v", alerts, headings)
	}
}

// prometheusRule is alerts.yaml as an object that the Prometheus operator loads.
func prometheusRule(t *testing.T) []byte {
	t.Helper()
	text, _ := readRules(t)
	_, groups, found := bytes.Cut(text, []byte("groups:\n"))
	if !found {
		t.Fatal("alerts.yaml has no groups")
	}
	var object bytes.Buffer
	object.WriteString(`# The groups of alerts.yaml as an object that the Prometheus operator loads.
# Made by UPDATE_DOCS=1 go test -run TestPrometheusRule ./k8s/monitoring
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: extauthz
  namespace: extauthz
  labels: { release: kube-prometheus-stack } # selected by that chart's Prometheus, if its release has this name
spec:
  groups:
`)
	for line := range bytes.Lines(groups) {
		if len(bytes.TrimSpace(line)) > 0 {
			object.WriteString("  ")
		}
		object.Write(line)
	}
	return object.Bytes()
}

// What the operator loads and what a Prometheus without it loads are the same rules. k8s/meshtest has the API server
// take the object by the operator's own definition.
func TestPrometheusRule(t *testing.T) {
	const path = "prometheusrule.yaml"
	want := prometheusRule(t)
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not alerts.yaml; run UPDATE_DOCS=1 go test -run TestPrometheusRule ./k8s/monitoring", path)
	}
	var object struct {
		Kind string
		Spec rules
	}
	if err := yaml.Unmarshal(got, &object); err != nil {
		t.Fatal(err)
	}
	_, file := readRules(t)
	same := func(a, b rules) bool {
		x, errX := yaml.Marshal(a)
		y, errY := yaml.Marshal(b)
		return errX == nil && errY == nil && bytes.Equal(x, y)
	}
	if object.Kind != "PrometheusRule" || len(object.Spec.Groups) == 0 || !same(object.Spec, file) {
		t.Errorf("%s holds other rules than alerts.yaml", path)
	}
	component, err := os.ReadFile("kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(component), path) {
		t.Errorf("the component does not have %s", path)
	}
}

// Each alert fires where it should.
func TestAlertsFire(t *testing.T) {
	_, file := readRules(t)
	folder := t.TempDir()
	paths, err := filepath.Glob("*_test.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	var tests strings.Builder
	arguments := []string{"test", "rules"}
	for _, name := range append(paths, "alerts.yaml") { // copied, so that a change of any runs the test anew
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(folder, name)
		if err := os.WriteFile(copied, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if name != "alerts.yaml" {
			tests.Write(content)
			arguments = append(arguments, copied)
		}
	}
	promtool(t, "check", "rules", filepath.Join(folder, "alerts.yaml"))
	promtool(t, arguments...)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			// The expression, and after it, on its line or below, what is expected.
			fires := regexp.MustCompile(`alertname="` + rule.Alert + `"[^\n]*alertstate="firing"` +
				`[^\n]*(?:\n[^-]*?)??exp_samples: \[\{`)
			if !fires.MatchString(tests.String()) {
				t.Errorf("no test in which %s fires", rule.Alert)
			}
		}
	}
}

// The queries that the runbook tells to run are PromQL over metrics that exist, and the scrape configuration that
// docs/kubernetes.md gives for a Prometheus without the operator is one.
func TestRunbookQueries(t *testing.T) {
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics := knownMetrics(t)
	var recorded strings.Builder
	recorded.WriteString("groups:\n  - name: runbook\n    rules:\n")
	queries := regexp.MustCompile("`([^`]*\\b(?:rate|increase)\\([^`]*)`").FindAllStringSubmatch(string(runbook), -1)
	if len(queries) == 0 {
		t.Error("no query in the runbook")
	}
	for _, found := range queries {
		checkExpression(t, "runbook", found[1], metrics)
		encoded, err := json.Marshal(found[1])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&recorded, "      - { record: a, expr: %s }\n", encoded)
	}
	// And what else it speaks of.
	named := regexp.MustCompile("`((?:extauthz|envoy|istio)_[a-z_]+)`")
	for _, found := range named.FindAllStringSubmatch(string(runbook), -1) {
		checkExpression(t, "runbook", "rate("+found[1]+")", metrics)
	}
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "rule_files:")
	scraping, _, _ := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/kubernetes.md has no scrape configuration")
	}
	text, _ := readRules(t)
	folder := t.TempDir()
	for name, content := range map[string]string{
		"runbook.yaml": recorded.String(), "prometheus.yaml": "rule_files:" + scraping, "alerts.yaml": string(text),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "check", "rules", filepath.Join(folder, "runbook.yaml"))
	promtool(t, "check", "config", filepath.Join(folder, "prometheus.yaml"))
}
