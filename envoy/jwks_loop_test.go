package envoy

import (
	"strings"
	"testing"

	"extauthz/envoy/parts"
)

// extauthz fetches the JWKS through the Envoy that asks it, by a route that is checked: it never gets a key. Its log,
// /readyz?verbose and doctor say so; and with the issuer's own address it is ready.
func TestJWKSThroughACheckedRoute(t *testing.T) {
	const route = `                        - match: { prefix: /api/auth/ }
                          route: { cluster: issuer, timeout: 15s }
`
	m := startMeshWith(t, parts.EnvoyNewest, "demo/envoy.yaml", func(config string) string {
		if !strings.Contains(config, route) {
			t.Fatal("the route to Better Auth is not where it was")
		}
		// Before it a path of the same issuer's, checked as somebody's own rules may have it.
		checked := strings.Replace(route, "prefix: /api/auth/", "path: /api/auth/jwks", 1)
		return strings.Replace(config, route, checked+route, 1)
	})
	m.extauthz.Stop()
	through := "JWKS_URL=" + m.url + "/api/auth/jwks"
	direct := m.settings
	m.settings = append(m.settings[:len(m.settings):len(m.settings)], through)
	process, err := parts.StartExtauthz(t.Context(), m.folder, m.binary, m.admin, m.settings...)
	if err != nil {
		t.Fatal(err)
	}
	m.extauthz = process
	t.Cleanup(func() { process.Stop() })
	const want = "status 401, by extauthz; the JWKS is fetched through an Envoy that has extauthz check this very route"
	eventually(t, "the reason at /readyz?verbose", func() bool {
		a := send(t, "GET", "http://"+m.admin+"/readyz?verbose", nil, "")
		return a.status == 503 && strings.Contains(a.body, want)
	})
	eventually(t, "the reason in the log", func() bool { return strings.Contains(m.extauthz.LogEnd(), want) })
	const fix = "turn the check off for it there (Better Auth's /api/auth/ is open by itself), or set JWKS_URL"
	output, status := m.doctor(t, nil)
	if status != 2 || !strings.Contains(output, "status 401, by extauthz") || !strings.Contains(output, fix) {
		t.Errorf("doctor: exit status %d\n%s", status, output)
	}
	process.Stop()
	m.settings = direct
	m.startExtauthz(t)
	if a := m.get(t, "/api/me", bearer(m.signUp(t, "Ana").jwt)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
