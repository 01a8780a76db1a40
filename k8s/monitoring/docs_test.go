package monitoring

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docs/kubernetes.md has a configuration of Prometheus, which its own promtool reads beside the rules.
func TestPrometheusConfigurationOfTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, config, found := strings.Cut(string(page), "```yaml prometheus\n")
	config, _, ended := strings.Cut(config, "```\n")
	if !found || !ended {
		t.Fatal("docs/kubernetes.md has no block of Prometheus")
	}
	rules, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, content := range map[string]string{"prometheus.yml": config, "alerts.yaml": string(rules)} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "check", "config", filepath.Join(folder, "prometheus.yml"))
}
