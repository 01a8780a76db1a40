package meshtest

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// place is one end of a connection: a pod in a namespace, or an address outside of the cluster or on the node.
type place struct {
	namespace string
	labels    map[string]string // of the pod
	address   string            // 10.244.7.7, a pod's, by default
}

var (
	extauthzItself = place{namespace: "extauthz"}
	envoyOfShop    = place{namespace: "shop", labels: map[string]string{"app": "envoy"}}
	podOfShop      = place{namespace: "shop", labels: map[string]string{"app": "shop"}}
	besideShop     = place{namespace: "shop", labels: map[string]string{"app": "other"}}
	waypointOfShop = place{namespace: "shop", labels: map[string]string{"gateway.networking.k8s.io/gateway-name": "waypoint"}}
	istioIngress   = place{namespace: "istio-ingress", labels: map[string]string{"istio": "ingress"}}
	istioSystem    = place{namespace: "istio-system", labels: map[string]string{"istio": "ingressgateway"}}
	gatewayProxy   = map[string]string{
		"app.kubernetes.io/component": "proxy", "app.kubernetes.io/managed-by": "envoy-gateway", "app.kubernetes.io/name": "envoy",
	}
	egProxy        = place{namespace: "envoy-gateway-system", labels: gatewayProxy}
	egProxyBeside  = place{namespace: "shop", labels: gatewayProxy}
	egController   = place{namespace: "envoy-gateway-system", labels: map[string]string{"control-plane": "envoy-gateway"}}
	stranger       = place{namespace: "elsewhere", labels: map[string]string{"app": "elsewhere"}}
	labelled       = place{namespace: "labelled", labels: map[string]string{"app": "another"}}
	prometheus     = place{namespace: "monitoring", labels: map[string]string{"app.kubernetes.io/name": "prometheus"}}
	openShiftsProm = place{namespace: "openshift-user-workload-monitoring", labels: prometheus.labels}
	gkesProm       = place{namespace: "gmp-system", labels: map[string]string{"app.kubernetes.io/name": "collector"}}
	probeOfAmbient = place{address: "169.254.7.127"}
	probeOfV6      = place{address: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"}
	internet       = place{address: "203.0.113.7"}
	coreDNS        = place{namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}}
	nodeLocalDNS   = place{address: "169.254.20.10"}
	cloudDNS       = place{address: "169.254.169.254"}
	openShiftDNS   = place{namespace: "openshift-dns", labels: map[string]string{"app": "dns-default"}}
	istiod         = place{namespace: "istio-system", labels: map[string]string{"app": "istiod"}}
)

// traffic is one row of the table. A port is the pod's own, as a policy sees it.
type traffic struct {
	title    string
	from, to place
	port     int
	udp      bool
	allowed  bool
}

// leaving is what extauthz asks for, in every overlay that has a policy.
var leaving = []traffic{
	{"DNS by CoreDNS", extauthzItself, coreDNS, 53, true, true},
	{"DNS by CoreDNS over TCP", extauthzItself, coreDNS, 53, false, true},
	{"DNS by NodeLocal DNSCache", extauthzItself, nodeLocalDNS, 53, true, true},
	{"DNS by GKE's Cloud DNS", extauthzItself, cloudDNS, 53, true, true},
	{"DNS by OpenShift", extauthzItself, openShiftDNS, 5353, true, true},
	{"DNS by OpenShift over TCP", extauthzItself, openShiftDNS, 5353, false, true},
	{"the cloud's metadata", extauthzItself, cloudDNS, 80, false, false},
	{"DNS at a stranger's", extauthzItself, stranger, 53, true, false},
	{"the issuer", extauthzItself, internet, 443, false, true},
	{"the issuer behind Istio's gateway", extauthzItself, istioIngress, 8443, false, true},
	{"the issuer behind Envoy Gateway's", extauthzItself, egProxy, 10443, false, true},
	{"PostgreSQL", extauthzItself, internet, 5432, false, true},
	{"PgBouncer", extauthzItself, labelled, 6432, false, true},
	{"OTLP by gRPC", extauthzItself, labelled, 4317, false, true},
	{"OTLP by HTTP", extauthzItself, labelled, 4318, false, true},
	{"anything else", extauthzItself, internet, 22, false, false},
	{"the Kubernetes API", extauthzItself, place{address: "10.96.0.1"}, 6443, false, false},
}

// arriving is who reaches it in every overlay.
var arriving = []traffic{
	{"a namespace with the label", labelled, extauthzItself, 9191, false, true},
	{"a namespace with the label, for metrics", labelled, extauthzItself, 9192, false, false},
	{"Prometheus", prometheus, extauthzItself, 9192, false, true},
	{"OpenShift's Prometheus", openShiftsProm, extauthzItself, 9192, false, true},
	{"GKE's Prometheus", gkesProm, extauthzItself, 9192, false, true},
	{"a stranger for metrics", stranger, extauthzItself, 9192, false, false},
	{"from outside", internet, extauthzItself, 9191, false, false},
}

// refused are who may not ask where not all may.
var refused = []traffic{
	{"a stranger", stranger, extauthzItself, 9191, false, false},
	{"Prometheus for checks", prometheus, extauthzItself, 9191, false, false},
}

var istiosOwn = []traffic{
	{"istiod", extauthzItself, istiod, 15012, false, true},
	{"Prometheus, merged metrics", prometheus, extauthzItself, 15020, false, true},
	{"Prometheus, the sidecar's metrics", prometheus, extauthzItself, 15090, false, true},
	{"Istio's addon Prometheus", istioSystem, extauthzItself, 9192, false, true},
	{"a stranger for the sidecar's metrics", stranger, extauthzItself, 15090, false, false},
}

var byGateway = slices.Concat(refused, istiosOwn, []traffic{
	{"the gateway of the chart", istioIngress, extauthzItself, 9191, false, true},
	{"the gateway of istioctl", istioSystem, extauthzItself, 9191, false, true},
	{"a sidecar, which has nothing to ask", podOfShop, extauthzItself, 9191, false, false},
})

var bySidecar = slices.Concat(refused, istiosOwn, []traffic{
	{"a sidecar of the namespace", podOfShop, extauthzItself, 9191, false, true},
})

// asking is what each overlay adds. Its namespaces have no label but the one that Kubernetes gives, and those that the
// overlay's own objects bring.
var asking = map[string][]traffic{
	"base":                         refused,
	"meshtest/testdata/production": refused,
	"istio/workload":               bySidecar,
	"istio/namespace":              bySidecar,
	"istio/gateway":                byGateway,
	"istio/gateway-api":            byGateway,
	"full":                         byGateway,
	"istio/mesh": slices.Concat(istiosOwn, []traffic{
		{"a sidecar of any namespace", stranger, extauthzItself, 9191, false, true},
		{"the ingress gateway", istioIngress, extauthzItself, 9191, false, true},
	}),
	"istio-ambient": slices.Concat(refused, []traffic{
		{"the waypoint, by ztunnel", waypointOfShop, extauthzItself, 15008, false, true},
		{"Prometheus in the mesh", prometheus, extauthzItself, 15008, false, true},
		{"Istio's addon Prometheus", istioSystem, extauthzItself, 9192, false, true},
		{"a stranger by ztunnel", stranger, extauthzItself, 15008, false, false},
		{"the kubelet's probe of readiness", probeOfAmbient, extauthzItself, 9191, false, true},
		{"the kubelet's probe of liveness", probeOfAmbient, extauthzItself, 9192, false, true},
		{"the kubelet's probe by IPv6", probeOfV6, extauthzItself, 9192, false, true},
		{"a request past the waypoint", stranger, podOfShop, 8000, false, false},
		{"the ingress gateway past the waypoint", istioIngress, podOfShop, 8000, false, false},
		{"the waypoint to the pods, by ztunnel", waypointOfShop, podOfShop, 15008, false, true},
		{"the kubelet's probe of the pods", probeOfAmbient, podOfShop, 8000, false, true},
		{"another link-local address", nodeLocalDNS, extauthzItself, 9191, false, false},
		{"a database in the mesh", extauthzItself, labelled, 15008, false, true},
	}),
	"envoy-gateway": slices.Concat(refused, []traffic{
		{"its proxy beside the controller", egProxy, extauthzItself, 9191, false, true},
		{"its proxy beside the Gateway", egProxyBeside, extauthzItself, 9191, false, true},
		{"its controller", egController, extauthzItself, 9191, false, false},
		{"a backend", podOfShop, extauthzItself, 9191, false, false},
	}),
	"standalone": slices.Concat(refused, []traffic{
		{"Envoy", envoyOfShop, extauthzItself, 9191, false, true},
		{"the backend", podOfShop, extauthzItself, 9191, false, false},
		{"Envoy to the backend", envoyOfShop, podOfShop, 8000, false, true},
		{"extauthz to the backend", extauthzItself, podOfShop, 8000, false, false},
		{"a pod beside the backend", besideShop, podOfShop, 8000, false, false},
		{"a stranger to the backend", stranger, podOfShop, 8000, false, false},
	}),
	"sidecar": nil, // a Unix socket within the pod
}

// The rendered policies let in who asks in each overlay, without a label put by hand, and out to what extauthz needs on
// the clouds' and meshes' own ports, and nobody else. They are judged by cyclonus, with which CNIs are tested for
// conformance to the NetworkPolicy API.
func TestNetworkPolicies(t *testing.T) {
	for _, folder := range overlays {
		t.Run(folder, func(t *testing.T) {
			rows, known := asking[folder]
			if !known {
				t.Fatal("nobody says who asks in this overlay")
			}
			c := policiesOf(t, folder)
			if folder == "sidecar" {
				if c.ofExtauthz {
					t.Error("a policy, and no row here")
				}
				return
			}
			if !c.ofExtauthz {
				t.Fatal("no NetworkPolicy for extauthz")
			}
			for _, row := range slices.Concat(rows, arriving, leaving) {
				if got := c.allows(row); got != row.allowed {
					t.Errorf("%s, port %d: allowed %t, want %t", row.title, row.port, got, row.allowed)
				}
			}
		})
	}
}

// judged are the policies of one overlay, and what they are judged by.
type judged struct {
	policy     *matcher.Policy
	namespaces map[string]map[string]string // labels
	pod        map[string]string            // extauthz's labels
	ports      map[int]string               // its ports' names
	ofExtauthz bool
}

func policiesOf(t *testing.T, folder string) *judged {
	t.Helper()
	var policies []*networkingv1.NetworkPolicy
	c := &judged{ports: map[int]string{}, namespaces: map[string]map[string]string{
		"labelled": {"extauthz.example.com/may-ask": "true"},
	}}
	for _, o := range overlay(t, folder) {
		switch o.kind() {
		case "NetworkPolicy":
			policies = append(policies, into[networkingv1.NetworkPolicy](t, o))
			c.ofExtauthz = c.ofExtauthz || o.namespace() == "extauthz"
		case "Namespace":
			c.namespaces[o.name()] = into[corev1.Namespace](t, o).Labels
		case "Deployment":
			d := into[appsv1.Deployment](t, o)
			for _, container := range allContainers(d) {
				for _, port := range container.Ports {
					c.ports[int(port.ContainerPort)] = port.Name
				}
			}
			if o.name() == "extauthz" {
				c.pod = d.Spec.Template.Labels
			}
		}
	}
	c.policy = matcher.BuildNetworkPolicies(false, policies)
	return c
}

func (c *judged) allows(row traffic) bool {
	asked := &matcher.Traffic{
		Source: c.peer(row.from), Destination: c.peer(row.to),
		ResolvedPort: row.port, ResolvedPortName: c.ports[row.port], Protocol: corev1.ProtocolTCP,
	}
	if row.udp {
		asked.Protocol = corev1.ProtocolUDP
	}
	return c.policy.IsTrafficAllowed(asked).IsAllowed()
}

func (c *judged) peer(p place) *matcher.TrafficPeer {
	if p.namespace == "" {
		return &matcher.TrafficPeer{IP: netip.MustParseAddr(p.address).String()}
	}
	labels := map[string]string{"kubernetes.io/metadata.name": p.namespace} // the API server's own
	for name, value := range c.namespaces[p.namespace] {
		labels[name] = value
	}
	pod := p.labels
	if p.namespace == "extauthz" {
		pod = c.pod
	}
	return &matcher.TrafficPeer{IP: "10.244.7.7", Internal: &matcher.InternalPeer{
		Namespace: p.namespace, NamespaceLabels: labels, PodLabels: pod,
	}}
}
