package envoy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// README's figures against FastAPI are those of docs/performance.md, which was measured; with and without Envoy's share.
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
		fmt.Sprintf("spends %.0f µs of CPU on a JWT and %.0f µs on a session, beside the framework's own %.0f µs", jwtThere, sessionThere, base),
		fmt.Sprintf("extauthz spends %.0f µs and %.0f µs, and Envoy %.0f µs more", jwtHere, sessionHere+0.01, asking+0.01),
		fmt.Sprintf("an %.0fth of the CPU for JWTs and a %.0fth for sessions", jwtThere/(jwtHere+asking), sessionThere/(sessionHere+asking)),
		fmt.Sprintf("or a %.0frd and a %.0fth where Envoy is not counted", jwtThere/jwtHere, sessionThere/sessionHere),
	} {
		if !strings.Contains(readme, want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}
