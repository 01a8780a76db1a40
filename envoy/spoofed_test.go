package envoy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"extauthz/envoy/parts"
)

// nameSeparators are what may stand in a header's name and is no letter or digit (RFC 9110 §5.6.2). Some server takes each
// of them for a hyphen. The underscore is apart: Envoy refuses a request with it.
const nameSeparators = "-!#$%&'*+.^`|~"

// spoofedNames are ours in every spelling: by each pair of nameSeparators, and in other cases.
func spoofedNames() (names []string) {
	for _, first := range nameSeparators {
		for _, second := range nameSeparators {
			for _, name := range []string{"x%cuser%cid", "X%cAuth%cMethod", "x%cUSER%c", "x%cauth%cx"} {
				names = append(names, fmt.Sprintf(name, first, second))
			}
		}
	}
	for _, name := range []string{"user-email", "user-name", "user-role", "user-organization", "user-organization-role",
		"user-email-verified", "user-anything", "auth-issued-at", "auth-expires-at", "auth-issuer", "auth-scope", "auth-client-id",
		"auth-session-id", "auth-impersonator", "auth-api-key-id", "auth-request-user", "auth-request-email"} {
		names = append(names, "x-"+name, "X-"+strings.ToUpper(name), "X."+name, "x-"+strings.ReplaceAll(name, "-", "."))
	}
	return names
}

var isOurs = regexp.MustCompile(`(?i)^x[^a-z0-9](user|auth)[^a-z0-9]`)

// publicRoute is the sample's own first public route, for another one, with its path.
func publicRoute(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile("public-routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "                        - match: { path: /health }\n")
	route, _, found := strings.Cut(rest, "                        - match:")
	if !found {
		t.Fatal("public-routes.yaml has no public route where it had one")
	}
	return "                        - match: { path: " + path + " }\n" + strings.ReplaceAll(route, "&unchecked", "")
}

// Where a route is not checked, no header of ours passes from a client to the backend, in any spelling, by any sample
// that has such a route as it stands, and by the others once they have the one of public-routes.yaml. Without what that
// one says, they pass. The demo's such routes lead to Better Auth and the front end: here they lead to the backend, which
// tells what it got.
func TestPublicRoutesPassNoHeaderOfOurs(t *testing.T) {
	const filters = "                http_filters:\n"
	content, err := os.ReadFile("public-routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), filters)
	mutation, _, _ := strings.Cut(rest, "                  # Before the check")
	withRoute := func(config string) string {
		const routes = "                        - match: { prefix: / }\n"
		config = strings.Replace(config, filters, filters+mutation, 1)
		return strings.Replace(config, routes, publicRoute(t, "/health")+publicRoute(t, "/api/headers")+routes, 1)
	}
	asItStands := func(config string) string { return config }
	toTheBackend := func(config string) string {
		return strings.ReplaceAll(config, "route: { cluster: issuer, timeout: 15s }", "route: { cluster: backend, timeout: 15s, "+
			"regex_rewrite: { pattern: { regex: \".*\" }, substitution: /api/headers } }")
	}
	for _, version := range envoyVersions {
		for _, row := range []struct {
			title, sample, path string
			change              func(string) string
			passes              bool
		}{
			{"public-routes.yaml", "public-routes.yaml", "/api/headers/public", asItStands, false},
			{"http.yaml", "http.yaml", "/api/headers", withRoute, false},
			{"unix-socket.yaml", "unix-socket.yaml", "/api/headers", withRoute, false},
			{"tracing.yaml", "tracing.yaml", "/api/headers", withRoute, false},
			{"mtls.yaml", "mtls.yaml", "/api/headers", withRoute, false},
			{"the demo, Better Auth", "demo/envoy.yaml", "/api/auth/sign-in/email", toTheBackend, false},
			{"the demo, the front end", "demo/envoy.yaml", "/sign-in", toTheBackend, false},
			{"k8s/sidecar/envoy.yaml", "../k8s/sidecar/envoy.yaml", "/api/headers", withRoute, false},
			{"k8s/standalone/envoy.yaml", "../k8s/standalone/envoy.yaml", "/api/headers", withRoute, false},
			{"the check turned off and no more", "http.yaml", "/api/headers", func(config string) string {
				return regexp.MustCompile(`(?m)^ *- remove_on_match:\n.*\n`).ReplaceAllString(withRoute(config),
					strings.Repeat(" ", 36)+"- remove: x-nothing\n")
			}, true},
		} {
			t.Run(version+"/"+row.title, func(t *testing.T) {
				m := startSample(t, version, row.sample, row.change)
				names := spoofedNames()
				for batch := range slices.Chunk(names, 50) {
					header := map[string]string{"X-Other": "mine"}
					for _, name := range batch {
						header[name] = "admin"
					}
					a := m.get(t, row.path, header)
					if a.status != http.StatusOK {
						t.Fatalf("%d %s", a.status, a.body)
					}
					var got [][2]string
					if err := json.Unmarshal([]byte(a.body), &got); err != nil {
						t.Fatal(err)
					}
					if !slices.Contains(got, [2]string{"x-other", "mine"}) {
						t.Errorf("the backend got no x-other: %v", got)
					}
					passed := slices.DeleteFunc(got, func(h [2]string) bool { return !isOurs.MatchString(h[0]) })
					if row.passes != (len(passed) > 0) {
						t.Errorf("the backend got %q", passed)
					}
				}
				p := m.signUp(t, "Ana") // beside it, what is checked is as ever
				header := bearer(p.jwt)
				header["X.User.Id"], header["x-user-id"] = "admin", "admin"
				if a := m.get(t, "/api/me", header); a.status != http.StatusOK || !strings.Contains(a.body, p.id) {
					t.Errorf("checked: %d %s", a.status, a.body)
				}
				for _, name := range []string{"x_user_id", "X_User-Id", "x-user_id", "x_auth_method", "x_user.id"} {
					if a := m.get(t, row.path, map[string]string{name: "admin"}); a.status != http.StatusBadRequest {
						t.Errorf("%s: %d %s, want 400", name, a.status, a.body)
					}
				}
			})
		}
	}
}

// startSample is startMeshWith for a sample of another folder, too.
func startSample(t *testing.T, version, sample string, change func(string) string) *mesh {
	t.Helper()
	if !strings.HasPrefix(sample, "../") {
		return startMeshWith(t, version, sample, change)
	}
	content, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	// They are the samples below but for addresses of a cluster.
	local := strings.NewReplacer("address: 0.0.0.0", "address: 127.0.0.1", "type: STRICT_DNS", "type: STATIC",
		"port_value: 9902 ", "port_value: "+itoa(stats)+" ",
		"extauthz-replicas.extauthz.svc.cluster.local", "127.0.0.1",
		"{ socket_address: { address: shop.shop.svc.cluster.local, port_value: 8000 } }", parts.BackendPipe).Replace(string(content))
	like := map[string]string{"../k8s/sidecar/envoy.yaml": "unix-socket.yaml", "../k8s/standalone/envoy.yaml": "http.yaml"}
	return startMeshWith(t, version, like[sample], func(string) string { return change(local) })
}
