package meshtest

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/test"
	"sigs.k8s.io/yaml"
)

// meshSettings are what istio/mesh-config.yaml puts over Istio's defaults.
func meshSettings(t *testing.T) *meshconfig.MeshConfig {
	t.Helper()
	content, err := os.ReadFile("../istio/mesh-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		MeshConfig map[string]any `json:"meshConfig"`
	}
	if err := yaml.UnmarshalStrict(content, &values); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(values.MeshConfig)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := mesh.ApplyMeshConfig(string(text), mesh.DefaultMeshConfig())
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

// istioKinds are the objects that Istio's control plane reads; the rest of an overlay is Kubernetes' own.
func istioObjects(objects []object) (kept []object) {
	for _, o := range objects {
		if strings.Contains(o.apiVersion(), "istio.io/") {
			kept = append(kept, o)
		}
	}
	return kept
}

// world is what the objects of an overlay meet: the services of the mesh, as service entries, and a gateway with its routes.
const world = `
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: extauthz, namespace: extauthz }
spec:
  hosts: [extauthz.extauthz.svc.cluster.local]
  addresses: [240.0.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9191, name: grpc, protocol: GRPC }]
  endpoints: [{ address: 10.0.0.1, labels: { app.kubernetes.io/name: extauthz } }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.shop.svc.cluster.local]
  addresses: [240.0.0.2]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8000, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.2, labels: { app: shop, extauthz.example.com/checked: "true" } }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: admin, namespace: shop }
spec:
  hosts: [admin.shop.svc.cluster.local]
  addresses: [240.0.0.3]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8000, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.3, labels: { app: admin, extauthz.example.com/checked: "true" } }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: other, namespace: other }
spec:
  hosts: [other.other.svc.cluster.local]
  addresses: [240.0.0.4]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8000, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.4, labels: { app: other } }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ingress, namespace: istio-ingress }
spec:
  hosts: [ingress.istio-ingress.svc.cluster.local]
  addresses: [240.0.0.5]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.5, labels: { istio: ingressgateway } }]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: ingress, namespace: istio-ingress }
spec:
  selector: { istio: ingressgateway }
  servers: [{ port: { number: 8080, name: http, protocol: HTTP }, hosts: ["*"] }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: shop, namespace: istio-ingress }
spec:
  hosts: [shop.example.com]
  gateways: [ingress]
  http: [{ route: [{ destination: { host: shop.shop.svc.cluster.local, port: { number: 8000 } } }] }]
`

// pilot is Istio's control plane with these objects.
func pilot(t *testing.T, objects []object, more string) *xds.FakeDiscoveryServer {
	t.Helper()
	test.SetForTest(t, &features.MetadataExchange, false) // it needs Istio's own build of Envoy
	return xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: yamlOf(istioObjects(objects)) + more, MeshConfig: meshSettings(t)})
}

// proxyOf is a proxy of the mesh: a sidecar of the workload with this address, or the gateway.
func proxyOf(s *xds.FakeDiscoveryServer, kind model.NodeType, namespace, address string, labels map[string]string) *model.Proxy {
	return s.SetupProxy(&model.Proxy{
		Type: kind, ID: "proxy." + namespace, ConfigNamespace: namespace, IPAddresses: []string{address}, Labels: labels,
		Metadata: &model.NodeMetadata{Namespace: namespace, Labels: labels, NodeName: "node"},
	})
}

// sidecar is what Istio makes of the workload's inbound port, as a listener of this machine.
func (s *stack) sidecar(t *testing.T, control *xds.FakeDiscoveryServer, namespace, address string, labels map[string]string, port uint32, listen string) (*listenerv3.Listener, *clusterv3.Cluster) {
	t.Helper()
	proxy := proxyOf(control, model.SidecarProxy, namespace, address, labels)
	for _, listener := range control.Listeners(proxy) {
		if listener.GetName() != "virtualInbound" {
			continue
		}
		for _, chain := range listener.GetFilterChains() {
			manager := httpOf(t, chain)
			if manager == nil || chain.GetFilterChainMatch().GetDestinationPort().GetValue() != port {
				continue
			}
			cluster := fmt.Sprintf("inbound|%d||", port)
			for _, c := range control.Clusters(proxy) {
				if c.GetName() == cluster {
					backend := static(c, s.backend.Listener.Addr().String())
					backend.TypedExtensionProtocolOptions = nil // the backend here speaks HTTP/1.1, also in extauthz' place
					return plain(t, manager, nil, listen), backend
				}
			}
			t.Fatalf("no cluster %s", cluster)
		}
	}
	t.Fatalf("no inbound HTTP at port %d of %s", port, address)
	return nil, nil
}

// gateway is what Istio makes of the ingress gateway.
func (s *stack) gateway(t *testing.T, control *xds.FakeDiscoveryServer, listen string) (*listenerv3.Listener, *clusterv3.Cluster) {
	t.Helper()
	proxy := proxyOf(control, model.Router, "istio-ingress", "10.0.0.5", map[string]string{"istio": "ingressgateway"})
	listeners := control.Listeners(proxy)
	routes := control.RoutesFromListeners(proxy, listeners)
	if len(listeners) != 1 || len(routes) != 1 {
		t.Fatalf("%d listeners and %d routes of the gateway", len(listeners), len(routes))
	}
	for _, c := range control.Clusters(proxy) {
		if strings.HasPrefix(c.GetName(), "outbound|8000||shop") {
			return plain(t, httpOf(t, listeners[0].GetFilterChains()[0]), routes[0], listen), static(c, s.backend.Listener.Addr().String())
		}
	}
	t.Fatal("no cluster for the shop")
	return nil, nil
}

// extauthzCluster is what Istio makes of the way to extauthz; it must speak mTLS and leave out replicas that fail.
func extauthzCluster(t *testing.T, control *xds.FakeDiscoveryServer, proxy *model.Proxy, address string) *clusterv3.Cluster {
	t.Helper()
	for _, c := range control.Clusters(proxy) {
		if c.GetName() != "outbound|9191||extauthz.extauthz.svc.cluster.local" {
			continue
		}
		if transport := c.GetTransportSocket().String() + fmt.Sprint(c.GetTransportSocketMatches()); !strings.Contains(transport, "UpstreamTlsContext") {
			t.Errorf("no mTLS to extauthz: %s", transport)
		}
		if c.GetOutlierDetection().GetConsecutiveGatewayFailure().GetValue() != 5 || c.GetConnectTimeout().AsDuration() != 250*time.Millisecond {
			t.Errorf("not as the DestinationRule says: %v %v", c.GetOutlierDetection(), c.GetConnectTimeout())
		}
		return static(c, address)
	}
	t.Fatal("no cluster for extauthz")
	return nil
}

// enforced tells what is not as it must be of an enforced workload; public is a path that its policy leaves out. At last it stops extauthz.
func (s *stack) enforced(t *testing.T, url, public string, stop func()) (faults []string) {
	t.Helper()
	wrong := func(format string, arguments ...any) { faults = append(faults, fmt.Sprintf(format, arguments...)) }
	authorization := "Authorization: Bearer " + s.token(t)
	for _, row := range []struct {
		title   string
		path    string
		headers []string
		status  int
		user    string // whom the backend sees
	}{
		{"no credential", "/api/me", nil, 401, ""},
		{"a JWT", "/api/me", []string{authorization}, 200, "jwt-user"},
		{"a session token, opaque", "/api/me", []string{"Authorization: Bearer " + session}, 200, "session-user"},
		{"a forged JWT", "/api/me", []string{authorization[:len(authorization)-8] + "AAAAAAAA"}, 401, ""},
		{"a spoofed identity and no credential", "/api/me", []string{"X-User-Id: admin"}, 401, ""},
		{"a spoofed identity beside a JWT", "/api/me", []string{authorization, "X-User-Id: admin", "X-User-Role: admin", "x_user_id: admin"}, 200, "jwt-user"},
		{"a public path", public, nil, 200, ""},
		{"a public path and a spoofed identity", public, []string{"X-User-Id: admin"}, 200, ""},
		{"a public path and one spelt with underscores", public, []string{"x_user_id: admin"}, 200, ""},
		{"a public path and every spelling", public, spoofedHeaders(), 200, ""},
		{"every spelling beside a JWT", "/api/me", append(spoofedHeaders(), authorization), 200, "jwt-user"},
		{"a path that only begins as a public one", public + "/..%2fapi/me", nil, 401, ""},
		{"the same, in other words", public + "/%2e%2e//api/me", nil, 401, ""},
	} {
		a := get(t, url+row.path, row.headers...)
		if a.status != row.status {
			wrong("%s: %d %s, want %d", row.title, a.status, strings.TrimSpace(a.body), row.status)
			continue
		}
		if a.status == http.StatusOK {
			if passed := spoofed(a.received); len(passed) > 0 || strings.Join(a.received["X-User-Id"], ",") != row.user {
				wrong("%s: the backend got %q of %v, want %q", row.title, passed, a.received["X-User-Id"], row.user)
			}
		}
	}
	stop()
	if a := getOnce(t, url+"/api/me", authorization); a.status != 503 {
		wrong("extauthz is down: %d %s, want 503", a.status, a.body)
	}
	if a := get(t, url+public); a.status != 200 {
		wrong("a public path while extauthz is down: %d %s", a.status, a.body)
	}
	return faults
}

var (
	shop  = map[string]string{"app": "shop", "extauthz.example.com/checked": "true"}
	admin = map[string]string{"app": "admin", "extauthz.example.com/checked": "true"}
	other = map[string]string{"app": "other"}
)

// workload is a pod of the mesh, and where its sidecar listens on this machine.
type workload struct {
	namespace, address string
	labels             map[string]string
	port               uint32
}

var (
	shopPod  = workload{"shop", "10.0.0.2", shop, 8000}
	adminPod = workload{"shop", "10.0.0.3", admin, 8000}
	otherPod = workload{"other", "10.0.0.4", other, 8000}
	ownPod   = workload{"extauthz", "10.0.0.1", map[string]string{"app.kubernetes.io/name": "extauthz"}, 9191}
)

// runSidecar has real Envoy be the pod's sidecar, and returns its URL.
func (s *stack) runSidecar(t *testing.T, control *xds.FakeDiscoveryServer, w workload, checks string) string {
	t.Helper()
	listen := freeAddress(t)
	if w.port == 9191 { // policies may speak of the port, which is that of the listener
		listen = "127.0.9.1:9191"
	}
	listener, backend := s.sidecar(t, control, w.namespace, w.address, w.labels, w.port, listen)
	proxy := proxyOf(control, model.SidecarProxy, w.namespace, w.address, w.labels)
	s.startEnvoy(t, []*listenerv3.Listener{listener}, []*clusterv3.Cluster{backend, extauthzCluster(t, control, proxy, checks)})
	return "http://" + listen
}

// runGateway has real Envoy be the ingress gateway.
func (s *stack) runGateway(t *testing.T, control *xds.FakeDiscoveryServer, checks string) string {
	t.Helper()
	listen := freeAddress(t)
	listener, backend := s.gateway(t, control, listen)
	proxy := proxyOf(control, model.Router, "istio-ingress", "10.0.0.5", map[string]string{"istio": "ingressgateway"})
	s.startEnvoy(t, []*listenerv3.Listener{listener}, []*clusterv3.Cluster{backend, extauthzCluster(t, control, proxy, checks)})
	return "http://" + listen
}

func overlay(t *testing.T, folder string) []object {
	t.Helper()
	objects, err := build("../" + folder)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func expectNone(t *testing.T, faults []string) {
	t.Helper()
	for _, fault := range faults {
		t.Error(fault)
	}
}

// Istio's control plane turns each overlay into what real Envoy enforces in front of real extauthz.
func TestIstioEnforces(t *testing.T) {
	s := startStack(t)
	for folder, public := range map[string]string{"istio/workload": "/health", "istio/namespace": "/health", "istio/mesh": "/healthz"} {
		t.Run("a sidecar, "+folder, func(t *testing.T) {
			control := pilot(t, overlay(t, folder), world)
			process, checks := s.startExtauthz(t)
			expectNone(t, s.enforced(t, s.runSidecar(t, control, shopPod, checks), public, func() { process.Stop() }))
		})
	}
	t.Run("the ingress gateway, istio/gateway", func(t *testing.T) {
		control := pilot(t, overlay(t, "istio/gateway"), world)
		process, checks := s.startExtauthz(t)
		expectNone(t, s.enforced(t, s.runGateway(t, control, checks), "/health", func() { process.Stop() }))
	})
	t.Run("a waypoint, istio-ambient", func(t *testing.T) {
		control, proxy := ambient(t, overlay(t, "istio-ambient"))
		process, checks := s.startExtauthz(t)
		expectNone(t, s.enforced(t, s.runWaypoint(t, control, proxy, checks), "/health", func() { process.Stop() }))
	})
}

// Who is checked and who is not follows from where a policy lies.
func TestIstioScopes(t *testing.T) {
	s := startStack(t)
	_, checks := s.startExtauthz(t)
	for _, row := range []struct {
		folder string
		pod    workload
		status int // of a request without a credential
	}{
		{"istio/workload", otherPod, 200},
		{"istio/namespace", adminPod, 401},
		{"istio/namespace", otherPod, 200},
		{"istio/mesh", adminPod, 401},
		{"istio/mesh", otherPod, 401},
		{"istio/mesh", ownPod, 200}, // who checks is not checked: that would be a circle
		{"istio/gateway", shopPod, 200},
	} {
		t.Run(row.folder+", "+row.pod.namespace+"/"+row.pod.address, func(t *testing.T) {
			url := s.runSidecar(t, pilot(t, overlay(t, row.folder), world), row.pod, checks)
			if a := get(t, url+"/api/me"); a.status != row.status {
				t.Errorf("%d %s, want %d", a.status, a.body, row.status)
			}
		})
	}
}

// Two workloads with one provider and rules of their own.
func TestIstioRouteSettings(t *testing.T) {
	s := startStack(t)
	_, checks := s.startExtauthz(t)
	control := pilot(t, overlay(t, "istio/workload"), world)
	for _, row := range []struct {
		pod          workload
		jwt, session int
	}{{shopPod, 200, 200}, {adminPod, 403, 200}} {
		url := s.runSidecar(t, control, row.pod, checks)
		if a := get(t, url+"/api/me", "Authorization: Bearer "+s.token(t)); a.status != row.jwt {
			t.Errorf("%s, by JWT: %d %s, want %d", row.pod.address, a.status, a.body, row.jwt)
		}
		if a := get(t, url+"/api/me", "Authorization: Bearer "+session); a.status != row.session {
			t.Errorf("%s, by session: %d %s, want %d", row.pod.address, a.status, a.body, row.session)
		}
	}
}

// When the CUSTOM policy is missing, the DENY policy beside it lets nobody pass, with a good token or an invented identity.
func TestIstioDenyHoldsAlone(t *testing.T) {
	s := startStack(t)
	_, checks := s.startExtauthz(t)
	for _, folder := range []string{"istio/workload", "istio/namespace", "istio/mesh"} {
		control := pilot(t, without(overlay(t, folder), "AuthorizationPolicy", "extauthz"), world)
		url := s.runSidecar(t, control, shopPod, checks)
		for _, headers := range [][]string{nil, {"Authorization: Bearer " + s.token(t)}, {"X-User-Id: admin", "X-Auth-Method: jwks"}} {
			if a := get(t, url+"/api/me", headers...); a.status != 403 {
				t.Errorf("%s, %v: %d %s, want 403", folder, headers, a.status, a.body)
			}
		}
	}
}

// Mistakes in the objects are found by what the other tests look for.
func TestIstioMistakesAreCaught(t *testing.T) {
	s := startStack(t)
	replace := func(text, by string) func([]object) []object {
		return func(objects []object) []object {
			changed, err := parse(strings.ReplaceAll(yamlOf(objects), text, by))
			if err != nil {
				t.Fatal(err)
			}
			return changed
		}
	}
	for title, change := range map[string]func([]object) []object{
		"a selector that no pod has":         replace(`extauthz.example.com/checked: "true"`, `extauthz.example.com/checked: "yes"`),
		"a provider that there is not":       replace("name: extauthz\n  rules", "name: ext-authz\n  rules"),
		"public paths that are too many":     replace("- /health\n", "- /*\n"),
		"ALLOW in place of CUSTOM":           replace("action: CUSTOM\n  provider:\n    name: extauthz\n", "action: ALLOW\n"),
		"both policies in another namespace": replace("namespace: shop\n", "namespace: shops\n"),
		"nothing that removes the client's headers": func(objects []object) []object {
			return without(objects, "EnvoyFilter", "extauthz-identity-headers")
		},
	} {
		t.Run(title, func(t *testing.T) {
			control := pilot(t, change(overlay(t, "istio/workload")), world)
			process, checks := s.startExtauthz(t)
			faults := s.enforced(t, s.runSidecar(t, control, shopPod, checks), "/health", func() { process.Stop() })
			if len(faults) == 0 {
				t.Error("nothing is found")
			}
			t.Logf("%d found, the first: %s", len(faults), append(faults, "")[0])
		})
	}
}
