package settings

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each fault that the library finds in its configuration belongs to a setting, whose name the command gives.
func TestEveryConfigFaultHasItsSetting(t *testing.T) {
	sources, err := filepath.Glob("../../../../extauthz/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:ConfigError\{(?:Issuer: \w+, )?Field: |checkURL\()"(\w+)"`)
	// Fields that the command fills by itself, and those of several issuers, which it never fills.
	unset := []string{"Metrics", "TracerProvider", "Several", "Name"}
	found := 0
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(content), -1) {
			found++
			if slices.Contains(unset, match[1]) {
				continue
			}
			if !slices.ContainsFunc(Table, func(s Setting) bool { return s.Field == match[1] }) {
				t.Errorf("%s: a fault of %s belongs to no setting", source, match[1])
			}
		}
	}
	if found < 5 {
		t.Errorf("%d faults were looked at", found)
	}
}
