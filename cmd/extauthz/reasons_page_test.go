package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/extauthz/operator"
)

// reasonsPage is docs/reasons.md as the reason table has it, in the operator's words.
func reasonsPage() string {
	var page strings.Builder
	page.WriteString(`# Reason codes

Every check that does not allow has one reason code. It is the same in the log (` + "`reason`" + `), in the metric
` + "`extauthz_checks_total{reason=…}`" + `, in Envoy's access log (dynamic metadata
` + "`envoy.filters.http.ext_authz:reason`" + `) and in what ` + "`extauthz check`" + ` prints. Clients see the status and the detail only.

This page is generated from the table in ` + "`extauthz/internal/reason/table.go`" + ` by ` + "`UPDATE_DOCS=1 go test -run TestReasonsPage ./cmd/extauthz`" + `.

| reason | status | detail | what was found | fix |
|---|---|---|---|---|
`)
	for _, fact := range operator.Facts() {
		fmt.Fprintf(&page, "| `%s` | %d | %s | %s | %s |\n", fact.Reason, fact.Status, fact.Detail, naming.Text(fact.Meaning),
			naming.Text(fact.Fix))
	}
	return page.String()
}

func TestReasonsPage(t *testing.T) {
	const path = "../../docs/reasons.md"
	expected := reasonsPage()
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(expected), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != expected {
		t.Errorf("%s is not what the code says; run UPDATE_DOCS=1 go test -run TestReasonsPage ./cmd/extauthz", path)
	}
	for _, variable := range []string{"BETTER_AUTH_URL", "API_AUDIENCE", "BETTER_AUTH_SECRET", "DATABASE_URL"} {
		if !slices.ContainsFunc(strings.Split(expected, "`"), func(part string) bool { return part == variable }) {
			t.Errorf("the page does not name %s", variable)
		}
	}
	if strings.Contains(expected, "Config.") {
		t.Error("the page names a field of the library")
	}
}
