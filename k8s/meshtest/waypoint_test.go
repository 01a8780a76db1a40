package meshtest

import (
	"net"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/test"
)

// services are the workloads and the waypoint as Kubernetes has them, which is where the ambient mesh looks. The shop's
// pod has an address of this machine, for a ztunnel that runs here. Its Service is the overlay's.
const services = `
---
apiVersion: v1
kind: Service
metadata: { name: extauthz, namespace: extauthz }
spec: { clusterIP: 3.0.0.1, ports: [{ name: grpc, port: 9191, appProtocol: grpc }], selector: { app.kubernetes.io/name: extauthz } }
---
apiVersion: v1
kind: Service
metadata:
  name: waypoint
  namespace: shop
  labels: { gateway.istio.io/managed: istio.io-mesh-controller, gateway.networking.k8s.io/gateway-name: waypoint, istio.io/gateway-name: waypoint }
spec: { clusterIP: 3.0.0.3, ports: [{ name: mesh, port: 15008, appProtocol: hbone }], selector: { gateway.networking.k8s.io/gateway-name: waypoint } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: waypoint, namespace: shop }
spec: { address: 10.0.0.6, labels: { gateway.networking.k8s.io/gateway-name: waypoint } }
---
apiVersion: v1
kind: Pod
metadata: { name: shop, namespace: shop, labels: { app: shop }, annotations: { ambient.istio.io/redirection: enabled } }
spec: { serviceAccountName: shop, nodeName: node }
status: { conditions: [{ type: Ready, status: "True" }], podIP: 127.0.7.2, podIPs: [{ ip: 127.0.7.2 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: extauthz, namespace: extauthz, labels: { app.kubernetes.io/name: extauthz }, annotations: { ambient.istio.io/redirection: enabled } }
spec: {}
status: { conditions: [{ type: Ready, status: "True" }], podIP: 10.0.0.1, podIPs: [{ ip: 10.0.0.1 }] }
`

// ambient is Istio's control plane with a waypoint.
func ambient(t *testing.T, objects []object) (*xds.FakeDiscoveryServer, *model.Proxy) {
	t.Helper()
	test.SetForTest(t, &features.MetadataExchange, false)
	var kept []object
	for _, o := range objects {
		switch {
		case o.kind() == "Namespace" && o.name() == "shop":
			kept = append(kept, o)
		case o.kind() == "Service" && o.name() == "shop":
			o.at("spec").(map[string]any)["clusterIP"] = "3.0.0.2" // which the API server would give it
			kept = append(kept, o)
		case o.kind() == "Gateway":
			o["status"] = map[string]any{"addresses": []any{map[string]any{"type": "Hostname", "value": "waypoint.shop.svc.cluster.local"}}}
			kept = append(kept, o)
		case strings.Contains(o.apiVersion(), "istio.io/"):
			kept = append(kept, o)
		}
	}
	all := yamlOf(kept) + services
	test.SetForTest(t, &features.EnableAmbient, true)
	test.SetForTest(t, &features.EnableAmbientWaypoints, true)
	control := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: all, KubernetesObjectString: all, MeshConfig: meshSettings(t),
		ListenerBuilder: func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }})
	return control, control.SetupProxy(&model.Proxy{
		Type: model.Waypoint, ConfigNamespace: "shop", IPAddresses: []string{"10.0.0.6"},
		Labels: map[string]string{"gateway.networking.k8s.io/gateway-name": "waypoint", "gateway.istio.io/managed": "istio.io-mesh-controller"},
	})
}

// runWaypoint has real Envoy be the waypoint: what Istio makes of the service behind it, past the tunnel.
func (s *stack) runWaypoint(t *testing.T, control *xds.FakeDiscoveryServer, proxy *model.Proxy, checks string) string {
	t.Helper()
	listen := freeAddress(t)
	for _, listener := range control.Listeners(proxy) {
		for _, chain := range listener.GetFilterChains() {
			manager := httpOf(t, chain)
			if manager == nil || !strings.Contains(chain.GetName(), "shop.shop.svc") {
				continue
			}
			clusters := []*clusterv3.Cluster{}
			for _, c := range control.Clusters(proxy) {
				if strings.Contains(c.GetName(), "shop.shop.svc") {
					clusters = append(clusters, static(c, s.backend.Listener.Addr().String()))
				}
				if strings.Contains(c.GetName(), "extauthz.extauthz.svc") {
					clusters = append(clusters, static(c, checks))
				}
			}
			s.startEnvoy(t, []*listenerv3.Listener{plain(t, manager, nil, listen)}, clusters)
			return "http://" + listen
		}
	}
	for _, listener := range control.Listeners(proxy) {
		for _, chain := range listener.GetFilterChains() {
			t.Log(listener.GetName(), chain.GetName(), httpOf(t, chain) != nil)
		}
	}
	t.Fatal("the waypoint serves no HTTP for the shop")
	return ""
}
