package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/envoy/parts"
)

// metricsPage is docs/metrics.md as a server with everything turned on has it.
func metricsPage(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.WriteFiles(folder, time.Now().Add(time.Hour), "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	jwks, _ := newIssuer(t)
	_, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "JWKS_URL": jwks.URL, "DATABASE_URL": "postgresql://nobody@127.0.0.1:" + commandtest.ClosedPort(t) + "/none",
		"EXTAUTHZ_TLS_CERT_FILE": folder + "/tls.crt", "EXTAUTHZ_TLS_KEY_FILE": folder + "/tls.key", "EXTAUTHZ_AUDIT_LOG": folder + "/audit.log", "EXTAUTHZ_DATABASE_MAX_LAG": "1s"})
	response, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	page.WriteString(`# Metrics

Metrics of ` + "`/metrics`" + ` on the admin listener, besides those of Go and the process.

- Histograms have classic and native buckets.
- No label has a value that a client can choose. The reasons are those of [reasons.md](reasons.md).
- Every counter series exists from the start, at 0: Prometheus sees no increase in a series that begins at 1.
- [k8s/monitoring](../k8s/monitoring) has a Grafana dashboard and alert rules. The [runbook](runbook.md) says what to do
  for each alert.

This page is generated from the code by ` + "`UPDATE_DOCS=1 go test -run TestMetricsPage ./cmd/extauthz`" + `.

| metric | type | labels | meaning |
|---|---|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.HasPrefix(name, "extauthz_") {
			continue
		}
		family := families[name]
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+pair.GetName()+"`")
		}
		slices.Sort(labels)
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp())
	}
	return page.String()
}

func TestMetricsPage(t *testing.T) {
	const path = "../../docs/metrics.md"
	want := metricsPage(t)
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says; run UPDATE_DOCS=1 go test -run TestMetricsPage ./cmd/extauthz", path)
	}
}
