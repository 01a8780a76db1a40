package extauthz

import (
	"os"
	"strings"
	"testing"

	"extauthz/extauthz/internal/reason"
)

// checkPage holds a page of the docs against what the code makes of it, and writes it where UPDATE_DOCS is set.
func checkPage(t *testing.T, path, test, want string) {
	t.Helper()
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
		t.Errorf("%s is not what the code says; run UPDATE_DOCS=1 go test -run %s ./extauthz", path, test)
	}
}

// Each reason stands once in the table, with everything that an operator needs.
func TestFactsAreWhole(t *testing.T) {
	seen := map[Reason]bool{}
	for _, fact := range reason.Facts() {
		if fact.Step == "" && fact.Status != 503 {
			t.Errorf("%s: no step", fact.Reason)
		}
		if seen[fact.Reason] || fact.Detail == "" || fact.Meaning == "" || fact.Fix == "" {
			t.Errorf("%+v", fact)
		}
		seen[fact.Reason] = true
		if fact.Status != 401 && fact.Status != 403 && fact.Status != 431 && fact.Status != 503 {
			t.Errorf("%s: status %d", fact.Reason, fact.Status)
		}
		if strings.Contains(fact.Meaning+fact.Fix, "|") {
			t.Errorf("%s: a | would break the table in the docs", fact.Reason)
		}
	}
}
