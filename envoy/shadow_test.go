package envoy

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"extauthz/envoy/parts"
)

// In shadow mode a client's own identity headers reach the backend in the mode whose name says so, and in no other: in
// no spelling, doubled or not, whatever the credential, and however Envoy shows the headers. The underscore is let in by
// this Envoy, so that extauthz itself must remove it.
func TestShadowByEnvoy(t *testing.T) {
	replaced := func(config, text, by string) string {
		if strings.Count(config, text) != 1 {
			t.Fatalf("%q stands %d times in the sample", text, strings.Count(config, text))
		}
		return strings.Replace(config, text, by, 1)
	}
	underscores := func(config string) string {
		return replaced(config, "headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW")
	}
	const last = "                      clear_route_cache: false\n"
	raw := func(config string) string {
		return replaced(underscores(config), last, last+"                      encode_raw_headers: true\n")
	}
	names := spoofedNames()
	for _, first := range "_" + nameSeparators {
		for _, second := range "_" + nameSeparators {
			if first == '_' || second == '_' {
				a, b := string(first), string(second)
				names = append(names, "x"+a+"user"+b+"id", "X"+a+"Auth"+b+"Method")
			}
		}
	}
	const agent = "grpc-web-javascript/0.1"
	const trusting = "report-and-trust-client-headers"
	for _, row := range []struct {
		title, mode string
		change      func(string) string
	}{
		{"report", "report", underscores}, {"report, raw headers", "report", raw}, {"headers, raw headers", "headers", raw},
		{"trusting", trusting, underscores},
	} {
		t.Run(row.title, func(t *testing.T) {
			m := startMeshWith(t, parts.EnvoyNewest, "http.yaml", row.change,
				"EXTAUTHZ_SHADOW="+row.mode, "EXTAUTHZ_KEEP_HEADERS=x-auth-tenant")
			p := m.signUp(t, "Ana")
			for who, credential := range map[string]map[string]string{
				"nobody": nil, "a forged token": bearer("no.such.token"), "a JWT": bearer(p.jwt),
				"a session": bearer(p.raw), "a cookie": {"Cookie": p.cookie},
			} {
				for batch := range slices.Chunk(names, 40) {
					header := map[string]string{"X-User-Agent": agent, "x-auth-tenant": "acme"}
					maps.Copy(header, credential)
					for i, name := range batch {
						header[name] = []string{"admin", "admin\nroot"}[i%2]
					}
					a := m.get(t, "/api/headers", header)
					var got [][2]string
					if err := json.Unmarshal([]byte(a.body), &got); a.status != http.StatusOK || err != nil {
						t.Fatalf("%s: %d %s", who, a.status, a.body)
					}
					passed, kept := 0, 0
					for _, h := range got {
						switch name := strings.ToLower(h[0]); {
						case name == "x-user-agent" && h[1] == agent, name == "x-auth-tenant" && h[1] == "acme":
							kept++
						case isOurs.MatchString(name) && (h[1] == "admin" || h[1] == "root"):
							passed++
						case isOurs.MatchString(name) && !(row.mode == "headers" && who != "nobody" && who != "a forged token"):
							t.Errorf("%s: the backend got %q", who, h)
						}
					}
					if kept != 2 {
						t.Errorf("%s: of the two headers that are kept %d came", who, kept)
					}
					if (row.mode == trusting) != (passed > 0) {
						t.Errorf("%s: %d of the client's own identity headers reached the backend: %s",
							who, passed, a.body)
					}
				}
			}
			a := m.get(t, "/api/me", map[string]string{"x-user-id": "admin", "X_User_Id": "admin"})
			if status := map[bool]int{true: 200, false: 401}[row.mode == trusting]; a.status != status {
				t.Errorf("%d %s, want %d", a.status, a.body, status)
			}
		})
	}
}
