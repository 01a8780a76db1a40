package main

import (
	"os"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/cmd/extauthz/internal/settings"
)

// The help names what can change at run time, and so do the docs.
func TestReloadableSettingsAreDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range settings.Live {
		if variable == "BETTER_AUTH_SECRET" || variable == "BETTER_AUTH_SECRETS" {
			continue // of the environment alone, which does not change
		}
		if !strings.Contains(manual.Find("serve").About, variable) || !strings.Contains(string(docs), "`"+variable+"`") {
			t.Errorf("%s is not documented as one that can change", variable)
		}
	}
}
