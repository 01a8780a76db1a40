package readiness

import (
	"testing"
	"time"
)

// When a server is ready, in made-up time.
func TestReadyAfter(t *testing.T) {
	for _, row := range []struct {
		value          string
		parts, missing int
		running        time.Duration
		want           bool
	}{
		{"all", 2, 0, 0, true}, {"all", 2, 1, 24 * time.Hour, false}, {"all", 1, 1, 24 * time.Hour, false},
		{"any", 2, 1, 0, true}, {"any", 2, 2, 24 * time.Hour, false}, {"any", 1, 0, 0, true},
		{"any", 1, 1, 24 * time.Hour, false},
		{"30s", 2, 0, 0, true}, {"30s", 2, 1, 30*time.Second - 1, false}, {"30s", 2, 1, 30 * time.Second, true},
		{"30s", 2, 2, 24 * time.Hour, false},
		{"0", 2, 1, 0, true},
	} {
		after, err := ParseAfter(row.value)
		if err != nil {
			t.Fatal(err)
		}
		if got := after.isEnough(row.parts, row.missing, row.running); got != row.want {
			t.Errorf("%s with %d of %d missing after %s: %t", row.value, row.missing, row.parts, row.running, got)
		}
	}
	for _, value := range []string{"", "ALL", "none", "-1s", "30", "true", "all,any", "NaNs"} {
		if _, err := ParseAfter(value); err == nil {
			t.Errorf("%q is taken", value)
		}
	}
}
