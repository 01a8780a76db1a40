package rules_test

import (
	"testing"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/analysistest"

	"extauthz/cmd/lint/rules"
)

// What each rule reports, and what it lets be, stands in testdata.
func TestRules(t *testing.T) {
	for _, row := range []struct {
		rule     *analysis.Analyzer
		packages []string
	}{
		{rules.Credentials, []string{"extauthz/extauthz/logs"}},
		{rules.Detached, []string{"extauthz/extauthz/texts", "extauthz/extauthz/internal/checkwire", "extauthz/elsewhere"}},
		{rules.Unsafe, []string{"extauthz/other", "extauthz/extauthz/internal/checkwire"}},
	} {
		t.Run(row.rule.Name, func(t *testing.T) {
			analysistest.Run(t, analysistest.TestData(), row.rule, row.packages...)
		})
	}
	if len(rules.All()) != 3 {
		t.Error("a rule without testdata")
	}
}
