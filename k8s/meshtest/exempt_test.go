package meshtest

import (
	"net/http"
	"strings"
	"testing"
)

// webWorld is world with a front end on another origin, whose CORS policy stands in the VirtualService, as Istio's users write it.
var webWorld = strings.Replace(world, "http: [{ route:",
	"http: [{ corsPolicy: { allowOrigins: [{ exact: \"https://app.example.com\" }], allowMethods: [GET, POST], allowHeaders: [authorization] }, route:", 1)

// redirectWorld is world whose gateway sends plain HTTP to HTTPS.
var redirectWorld = strings.Replace(world, "protocol: HTTP }, hosts: [\"*\"] }]", "protocol: HTTP }, tls: { httpsRedirect: true }, hosts: [\"*\"] }]", 1)

// A request of which the status, and for a 200 whether the backend got it, is expected.
type exemption struct {
	title, method, path string
	headers             []string
	status              int
}

var (
	origin    = "Origin: https://app.example.com"
	preflight = []string{origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"}
)

func (e exemption) expect(t *testing.T, url string) answer {
	t.Helper()
	a := verdict(t, e.method, url+e.path, e.headers...)
	if a.status != e.status {
		t.Errorf("%s: %d %s, want %d", e.title, a.status, strings.TrimSpace(a.body), e.status)
	}
	if passed := spoofed(a.received); len(passed) > 0 {
		t.Errorf("%s: the backend got the client's own %q", e.title, passed)
	}
	return a
}

// checkedStill are requests that are nearly a preflight and must be checked, and what a preflight must not bring.
func checkedStill(t *testing.T, url string) {
	t.Helper()
	for _, e := range []exemption{
		{"OPTIONS without an Access-Control-Request-Method", http.MethodOptions, "/api/me", []string{origin}, 401},
		{"a bare OPTIONS", http.MethodOptions, "/api/me", nil, 401},
		{"GET with a preflight's headers", http.MethodGet, "/api/me", preflight, 401},
		{"POST with a preflight's headers", http.MethodPost, "/api/me", preflight, 401},
		{"a preflight with an identity", http.MethodOptions, "/api/me", append([]string{"X-User-Id: admin"}, preflight...), 200},
		{"a preflight with every spelling of one", http.MethodOptions, "/api/me", append(spoofedHeaders(), preflight...), 200},
	} {
		e.expect(t, url)
	}
}

// A CORS preflight, which carries no credential by the Fetch standard, is answered without one: by Istio's CORS filter at a gateway, by the
// backend behind a sidecar or a waypoint. The request after it is checked.
func TestIstioAnswersPreflights(t *testing.T) {
	s := startStack(t)
	_, checks := s.startExtauthz(t)
	authorization := "Authorization: Bearer " + s.token(t)
	ask := exemption{"a preflight", http.MethodOptions, "/api/me", preflight, 200}
	for _, folder := range []string{"istio/gateway", "istio/mesh"} {
		t.Run(folder+" at the gateway", func(t *testing.T) {
			url := s.runGateway(t, pilot(t, overlay(t, folder), webWorld), checks)
			if a := ask.expect(t, url); a.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || a.received != nil {
				t.Errorf("the preflight is not answered by Istio's CORS filter: %v %v", a.header, a.received)
			}
			if a := get(t, url+"/api/me", origin, authorization); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
				t.Errorf("the request after it: %d %v", a.status, a.header)
			}
			checkedStill(t, url)
		})
	}
	for _, folder := range []string{"istio/workload", "istio/namespace", "istio/mesh"} {
		t.Run(folder+" at a sidecar", func(t *testing.T) {
			url := s.runSidecar(t, pilot(t, overlay(t, folder), world), shopPod, checks)
			if a := ask.expect(t, url); a.received == nil {
				t.Errorf("the backend did not get the preflight: %v", a.header)
			}
			checkedStill(t, url)
		})
	}
	t.Run("istio-ambient at a waypoint", func(t *testing.T) {
		control, proxy := ambient(t, overlay(t, "istio-ambient"))
		url := s.runWaypoint(t, control, proxy, checks)
		ask.expect(t, url)
		checkedStill(t, url)
	})
	t.Run("the DENY policy alone", func(t *testing.T) { // lets a preflight pass, and nothing beside it
		objects := without(overlay(t, "istio/workload"), "AuthorizationPolicy", "extauthz")
		objects = without(objects, "EnvoyFilter", "extauthz-identity-headers") // so that the policy itself must refuse
		url := s.runSidecar(t, pilot(t, objects, world), shopPod, checks)
		ask.expect(t, url)
		for _, e := range []exemption{
			{"OPTIONS that is no preflight", http.MethodOptions, "/api/me", []string{origin}, 403},
			{"GET with a preflight's headers", http.MethodGet, "/api/me", preflight, 403},
			{"a preflight with an identity", http.MethodOptions, "/api/me", append([]string{"X-User-Id: admin"}, preflight...), 403},
		} {
			e.expect(t, url)
		}
	})
}

// A certificate authority's challenge is answered at the gateway without a credential, and nothing beside its folder.
func TestIstioAnswersACMEChallenges(t *testing.T) {
	s := startStack(t)
	_, checks := s.startExtauthz(t)
	for _, folder := range []string{"istio/gateway", "istio/mesh"} {
		url := s.runGateway(t, pilot(t, overlay(t, folder), world), checks)
		const challenges = "/.well-known/acme-challenge/"
		for _, e := range []exemption{
			{"a challenge", http.MethodGet, challenges + "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", nil, 200},
			{"a challenge and an identity", http.MethodGet, challenges + "token", spoofedHeaders(), 200},
			{"a path that only begins as one", http.MethodGet, challenges + "..%2f..%2fapi/me", nil, 401},
			{"the same, in other words", http.MethodGet, challenges + "%2e%2e/../api/me", nil, 401},
			// What servers behind may read as the folder left again: path parameters (RFC 3986, section 3.3) as Tomcat does, a
			// second decoding, a backslash.
			{"the same, with parameters", http.MethodGet, challenges + "..;/..;x=y/api/me", nil, 401},
			{"the same, with encoded parameters", http.MethodGet, challenges + "..%3b/..%3b/api/me", nil, 401},
			{"the same, encoded twice", http.MethodGet, challenges + "%252e%252e/%252e%252e/api/me", nil, 401},
			{"the same, with slashes encoded twice", http.MethodGet, challenges + "..%252f..%252fapi/me", nil, 401},
			{"the same, with backslashes", http.MethodGet, challenges + "..\\..\\api/me", nil, 401},
			{"the same, with encoded backslashes", http.MethodGet, challenges + "..%5c..%5capi/me", nil, 401},
			{"a folder below", http.MethodGet, challenges + "api/me", nil, 401},
			{"the folder itself", http.MethodGet, challenges, nil, 401},
			{"in capitals", http.MethodGet, "/.WELL-KNOWN/ACME-CHALLENGE/token", nil, 401},
			// Better Auth's own paths are many, so they are exempt by a prefix: who leaves it again is nobody there.
			{"Better Auth's paths left again", http.MethodGet, "/api/auth/../me", spoofedHeaders(), 401},
			{"the same, with parameters", http.MethodGet, "/api/auth/..;/me", spoofedHeaders(), 401},
			{"the same, encoded twice", http.MethodGet, "/api/auth/%252e%252e/me", spoofedHeaders(), 200},
			{"another well-known path", http.MethodGet, "/.well-known/openid-configuration", nil, 401},
		} {
			e.title = folder + ": " + e.title
			e.expect(t, url)
		}
	}
}

// With istio/https-redirect plain HTTP is answered with a redirect and never served, whatever the Gateway says of it; without, it is checked first.
func TestIstioRedirects(t *testing.T) {
	s := startStack(t)
	_, checks := s.startExtauthz(t)
	authorization := "Authorization: Bearer " + s.token(t)
	// run asks with the status that is expected of requests without a token.
	run := func(t *testing.T, folders []string, more string, status int) {
		t.Helper()
		var objects []object
		for _, folder := range folders {
			objects = append(objects, overlay(t, folder)...)
		}
		url := s.runGateway(t, pilot(t, objects, more), checks)
		for _, e := range []exemption{
			{"no credential", http.MethodGet, "/api/me?a=b", nil, status},
			{"a form", http.MethodPost, "/api/me", nil, status},
			{"a client's own word for https", http.MethodGet, "/api/me?a=b", []string{"X-Forwarded-Proto: https"}, status},
			{"an identity", http.MethodGet, "/api/me", []string{"X-User-Id: admin"}, status},
			{"a path that only begins as a challenge", http.MethodGet, "/.well-known/acme-challenges", nil, status},
			{"a challenge's folder left again", http.MethodGet, "/.well-known/acme-challenge/..%2f..%2fapi/me", nil, status},
			{"the same, with parameters", http.MethodGet, "/.well-known/acme-challenge/..;/..;/api/me", nil, status},
			{"a challenge and a question", http.MethodGet, "/.well-known/acme-challenge?x", nil, status},
			{"a token over plain HTTP", http.MethodGet, "/api/me?a=b", []string{authorization}, 301},
		} {
			a := e.expect(t, url)
			// Envoy has left the folder by then, whichever way it was written.
			path := strings.NewReplacer("/.well-known/acme-challenge/..%2f..%2f", "/", "/.well-known/acme-challenge/..;/..;/", "/").Replace(e.path)
			if location := a.header.Get("Location"); a.status == 301 && location != "https://shop.example.com"+path {
				t.Errorf("%s: redirected to %q", e.title, location)
			}
		}
	}
	t.Run("httpsRedirect alone is checked first", func(t *testing.T) { run(t, []string{"istio/gateway"}, redirectWorld, 401) })
	for title, more := range map[string]string{"a Gateway that redirects": redirectWorld, "a Gateway that does not": world} {
		for _, folder := range []string{"istio/gateway", "istio/mesh"} {
			t.Run(folder+", "+title, func(t *testing.T) { run(t, []string{folder, "istio/https-redirect"}, more, 301) })
		}
	}
	t.Run("a challenge over plain HTTP", func(t *testing.T) {
		url := s.runGateway(t, pilot(t, append(overlay(t, "istio/gateway"), overlay(t, "istio/https-redirect")...), world), checks)
		exemption{"a challenge", http.MethodGet, "/.well-known/acme-challenge/token", nil, 200}.expect(t, url)
	})
}
