package meshtest

import (
	"testing"

	"extauthz/envoy/parts"
)

// routesOfOthers are what a team adds to the Gateway later: a route that nobody thought of a policy for, one with a
// policy for CORS alone that is merged with the Gateway's, and one with such a policy that takes its place.
const routesOfOthers = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: forgotten, namespace: shop }
spec:
  parentRefs: [{ name: shop }]
  rules: [{ matches: [{ path: { type: PathPrefix, value: /forgotten } }], backendRefs: [{ name: shop, port: 8000 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: merged, namespace: shop }
spec:
  parentRefs: [{ name: shop }]
  rules: [{ matches: [{ path: { type: PathPrefix, value: /merged } }], backendRefs: [{ name: shop, port: 8000 }] }]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: { name: merged, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: merged }]
  mergeType: StrategicMerge
  cors: { allowOrigins: ["https://app.example.com"] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: replaced, namespace: shop }
spec:
  parentRefs: [{ name: shop }]
  rules: [{ matches: [{ path: { type: PathPrefix, value: /replaced } }], backendRefs: [{ name: shop, port: 8000 }] }]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: { name: replaced, namespace: shop }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: replaced }]
  cors: { allowOrigins: ["https://app.example.com"] }
`

// A route that is added to the Gateway is checked by the Gateway's own policy, unless a policy of its own takes that
// one's place; docs/envoy-gateway.md says how not to.
func TestEnvoyGatewayChecksNewRoutes(t *testing.T) {
	s := startStack(t)
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	later, err := parse(routesOfOthers)
	if err != nil {
		t.Fatal(err)
	}
	_, checks := s.startExtauthzTLS(t, authority, inCluster)
	objects := append(overlay(t, "envoy-gateway"), later...)
	url := s.runEnvoyGateway(t, s.translate(t, objects, authority.Certificate), authority.Certificate, checks)
	authorization := "Authorization: Bearer " + s.token(t)
	for _, row := range []struct {
		path, title string
		status      int
		headers     []string
	}{
		{"/forgotten", "a route without a policy", 401, nil},
		{"/forgotten", "a route without a policy, a JWT", 200, []string{authorization}},
		{"/merged", "a policy for CORS that is merged", 401, nil},
		{"/merged", "a policy for CORS that is merged, a JWT", 200, []string{authorization}},
		{"/replaced", "a policy for CORS in the place of the Gateway's", 200, nil}, // the docs' warning is true
		{"/health", "the public route", 200, nil},
		{"/health/more", "below the public route", 401, nil},
		{"/admin", "the route with a rule of its own", 401, nil},
		{"/admin", "the route with a rule of its own, a JWT", 403, []string{authorization}},
	} {
		if a := get(t, url+row.path, row.headers...); a.status != row.status {
			t.Errorf("%s: %d %s, want %d", row.title, a.status, a.body, row.status)
		}
	}
	// Whatever the way, nobody's own identity arrives.
	for _, path := range []string{"/forgotten", "/merged", "/replaced", "/health", "/admin"} {
		a := get(t, url+path, "X-User-Id: admin", authorization)
		for _, id := range a.received["X-User-Id"] {
			if id == "admin" {
				t.Errorf("%s: the backend gets X-User-Id: admin", path)
			}
		}
	}
}
