package envoy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// README's figures against FastAPI are those of docs/performance.md, which was measured.
func TestDocsFigures(t *testing.T) {
	performance := readPage(t, "docs/performance.md")
	row := func(name, unit string) float64 {
		t.Helper()
		match := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \|[^|]*?([\d.]+) ` + unit).FindStringSubmatch(performance)
		if match == nil {
			t.Fatalf("docs/performance.md has no figure of %q in %q", name, unit)
		}
		figure, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return figure
	}
	const cpu, framework, envoy = "µs of CPU a check", "of them without a check", "µs of Envoy's CPU"
	jwtHere, sessionHere := row("a JWT, extauthz", cpu), row("a session, extauthz", cpu)
	asking := row("through Envoy, ext_authz, extauthz", envoy) - row("through Envoy, no filter", envoy)
	base := row("a JWT, FastAPI verifier, plain uvicorn", framework)
	jwtThere := row("a JWT, FastAPI verifier, plain uvicorn", "µs of CPU a request") - base
	sessionThere := row("a session, FastAPI verifier, plain uvicorn", "µs of CPU a request") - row("a session, FastAPI verifier, plain uvicorn", framework)

	readme := strings.Join(strings.Fields(readPage(t, "README.md")), " ")
	for _, want := range []string{
		fmt.Sprintf("| a FastAPI backend verifies it itself | %.0f | %.0f |", jwtThere, sessionThere),
		fmt.Sprintf("| extauthz checks it | %.0f | %.0f |", jwtHere, sessionHere+0.01),
		fmt.Sprintf("| Envoy calls extauthz | %.0f | %.0[1]f |", asking+0.01),
		fmt.Sprintf("costs %.0f times as much CPU as extauthz and Envoy's call together for a JWT, and %.0f times for a session",
			jwtThere/(jwtHere+asking), sessionThere/(sessionHere+asking)),
		fmt.Sprintf("FastAPI's own %.0f µs are in neither figure", base),
		fmt.Sprintf("%.0f µs of CPU for a JWT, %.0f µs for a session", jwtHere, sessionHere+0.01),
	} {
		if !strings.Contains(readme, want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}
