package extauthz

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"extauthz/extauthz/internal/request"
)

// expressions are those by which Envoy, Istio and Envoy Gateway know headers of ours: what extauthz may set and remove,
// and what is removed where nothing is checked. Whole names are matched.
var (
	expressionKeys = regexp.MustCompile(`\b(allow_expression|remove_on_match|removeOnMatch):`)
	expressions    = regexp.MustCompile(`\b(?:regex: |RegularExpression, value: )\\?"([^"\\]*)\\?"`)
)

// notMatched are those of the names that an expression misses, in any spelling that extauthz takes for them.
func notMatched(expression string, names []string) (missed []string) {
	whole := regexp.MustCompile(`^(?:` + expression + `)$`)
	for _, name := range names {
		for _, separator := range "-_.!#$%&'*+^`|~" {
			spelling := strings.ReplaceAll(name, "-", string(separator))
			if !whole.MatchString(spelling) {
				missed = append(missed, spelling)
			}
		}
	}
	return missed
}

// Each header that says who the user is, set today or later, is one that extauthz removes and that the samples and
// overlays name: in all of them a client's own is removed where nothing is checked, and extauthz' is let through.
func TestReservedHeadersAreNamedEverywhere(t *testing.T) {
	for _, name := range reservedHeaders {
		for _, separator := range "-_.~" {
			if spelling := strings.ReplaceAll(name, "-", string(separator)); !request.IsIdentityName(spelling) {
				t.Errorf("extauthz does not remove %s", spelling)
			}
		}
	}
	var named []string
	check := func(path, content string) {
		found := expressions.FindAllStringSubmatch(content, -1)
		if keys := expressionKeys.FindAllString(content, -1); len(keys) != len(found) {
			t.Errorf("%s: %q, but %d expressions that this test can read", path, keys, len(found))
		}
		for _, f := range found {
			if missed := notMatched(f[1], reservedHeaders); len(missed) > 0 {
				t.Errorf("%s: %q misses %q", path, f[1], missed)
			}
			if len(notMatched(f[1], []string{"x-tenant-id"})) == 0 {
				t.Errorf("%s: %q matches every name, and this test shows nothing", path, f[1])
			}
			named = append(named, path)
		}
	}
	for _, root := range []string{"../k8s", "../envoy"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != root):
				return filepath.SkipDir
			case entry.IsDir() || filepath.Ext(path) != ".yaml":
				return nil
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			check(path, string(content))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const advice = "../cmd/extauthz/internal/doctor/envoy/headers.go" // what doctor says to write
	content, err := os.ReadFile(advice)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)[strings.Index(string(content), `const fix = "Set disallow_all`):]
	check(advice, text[:strings.Index(text, "\n")])
	for _, path := range []string{
		"../k8s/istio/mesh/identity-headers.yaml", "../k8s/istio/gateway/identity-headers.yaml",
		"../k8s/istio/namespace/identity-headers.yaml", "../k8s/istio/workload/identity-headers.yaml",
		"../k8s/istio-ambient/identity-headers.yaml", "../k8s/envoy-gateway/securitypolicy.yaml",
		"../k8s/standalone/envoy.yaml", "../k8s/sidecar/envoy.yaml", "../envoy/http.yaml", "../envoy/unix-socket.yaml",
		"../envoy/mtls.yaml", "../envoy/tracing.yaml", "../envoy/public-routes.yaml", "../envoy/public-routes.yaml",
		"../envoy/demo/envoy.yaml", "../envoy/demo/envoy.yaml", "../envoy/compose/envoy.yaml", "../envoy/compose/envoy.yaml",
		advice,
	} {
		i := slices.Index(named, path)
		if i < 0 {
			t.Errorf("%s has no expression for our headers, or fewer than it had", path)
			continue
		}
		named = slices.Delete(named, i, i+1)
	}
	if len(named) > 0 {
		t.Errorf("this test's list does not have %q", named)
	}
}
