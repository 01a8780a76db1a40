package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// query is one of a panel.
type query struct{ name, expression string }

type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		Type    string
		Targets []struct{ Expr string }
	}
	Templating struct {
		List []struct {
			Name, AllValue string
			IncludeAll     bool
			Query          any
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	content, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries are those of all panels, as Grafana sends them when "All" is chosen: a variable that has a value of its own
// for that sends it, and another sends what there is, which is the job extauthz, envoy or istio.
func (d *dashboard) queries(t *testing.T) (queries []query) {
	t.Helper()
	replacements := []string{"$__rate_interval", "5m"}
	for _, v := range d.Templating.List {
		if v.Name == "datasource" {
			continue
		}
		value := v.AllValue
		if value == "" {
			value = map[string]string{"job": "extauthz", "envoy_job": "envoy", "istio_job": "istio"}[v.Name]
		}
		if value == "" || !v.IncludeAll {
			t.Errorf("the variable %s has no value for All", v.Name)
		}
		replacements = append(replacements, `"$`+v.Name+`"`, `"`+value+`"`)
	}
	for _, panel := range d.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("%s: no query", panel.Title)
		}
		for _, target := range panel.Targets {
			expression := strings.NewReplacer(replacements...).Replace(target.Expr)
			if strings.Contains(expression, "$") {
				t.Errorf("%s: a variable that there is not: %s", panel.Title, expression)
			}
			queries = append(queries, query{panel.Title, expression})
		}
	}
	return queries
}

// Each query of the dashboard asks for metrics that exist, of chosen jobs alone, and each of this server's metrics is
// shown.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	metrics := knownMetrics(t)
	ids := map[int]bool{}
	shown := map[string]bool{}
	for _, panel := range d.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels with the id %d", panel.ID)
		}
		ids[panel.ID] = true
	}
	jobs := regexp.MustCompile(`^job=~"(extauthz|envoy|istio)"`)
	for _, q := range d.queries(t) {
		checkExpression(t, q.name, q.expression, metrics)
		for _, found := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(q.expression, ""), -1) {
			shown[found[1]] = true
			if !jobs.MatchString(found[2]) {
				t.Errorf("%s: %s of every job in Prometheus", q.name, found[1])
			}
		}
	}
	for name := range metrics {
		isOwn := strings.HasPrefix(name, "extauthz_") && !strings.Contains(name, ":")
		if isOwn && !shown[name] && !shown[name+"_bucket"] && !shown[name+"_sum"] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// labelValues are values of the labels that panels look for.
var labelValues = map[string][]string{
	"outcome": {"allow", "deny", "unavailable"}, "result": {"ok", "error", "hit", "miss"}, "le": {"0.1", "+Inf"},
	"envoy_cluster_name": {"extauthz"}, "response_flags": {"UAEX"},
}

// allSeries are series of every metric, of one job's two targets.
func allSeries(metrics map[string]metric, job string) (all []string) {
	for name, m := range metrics {
		names, labels := []string{name}, m.labels
		if m.kind == "histogram" {
			names, labels = []string{name + "_bucket", name + "_sum", name + "_count"}, slices.Concat(labels, []string{"le"})
		}
		sets := []string{""}
		for _, label := range labels {
			values := labelValues[label]
			if values == nil {
				values = []string{"x"}
			}
			var more []string
			for _, set := range sets {
				for _, value := range values {
					more = append(more, fmt.Sprintf("%s, %s=%q", set, label, value))
				}
			}
			sets = more
		}
		for _, name := range names {
			for _, set := range sets {
				for _, instance := range []string{"a", "b"} {
					all = append(all, fmt.Sprintf("%s{job=%q, instance=%q%s}", name, job, instance, set))
				}
			}
		}
	}
	return all
}

// Each panel shows something of the targets that are chosen, and nothing of others, though they have the same metrics:
// every Go program has some of them, and a job may have more programs than one.
func TestPanelsShowChosenTargets(t *testing.T) {
	d := readDashboard(t)
	metrics := knownMetrics(t)
	var file strings.Builder
	file.WriteString("evaluation_interval: 1m\ntests:\n")
	ofGo := map[string]metric{}
	for name, m := range metrics {
		if strings.HasPrefix(name, "process_") {
			ofGo[name] = m
		}
	}
	for _, test := range []struct {
		jobs    []string
		metrics map[string]metric
		want    string
	}{
		{[]string{"extauthz", "envoy", "istio", "other"}, metrics, "{ value: 1 }"},
		{[]string{"other"}, metrics, ""},
		{[]string{"extauthz"}, ofGo, ""},
	} {
		file.WriteString("  - interval: 1m\n    input_series:\n")
		for _, job := range test.jobs {
			for _, series := range allSeries(test.metrics, job) {
				fmt.Fprintf(&file, "      - { series: '%s', values: '0+1x10' }\n", series)
			}
		}
		file.WriteString("    promql_expr_test:\n")
		for _, q := range d.queries(t) {
			expression, err := json.Marshal("count(" + q.expression + ") > bool 0")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&file, "      - { expr: %s, eval_time: 10m, exp_samples: [%s] }\n", expression, test.want)
		}
	}
	path := filepath.Join(t.TempDir(), "panels.yaml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", path)
}
