package meshtest

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// ownedProxy is a proxy as Envoy Gateway labels it; see the translator's OwningGatewayNameLabel.
func ownedProxy(namespace, gateway string) place {
	labels := map[string]string{
		"gateway.envoyproxy.io/owning-gateway-namespace": "shop", "gateway.envoyproxy.io/owning-gateway-name": gateway,
	}
	maps.Copy(labels, gatewayProxy)
	return place{namespace: namespace, labels: labels}
}

// The table of docs/backend.md says whom a backend's NetworkPolicy lets in with each overlay whose Envoy is not in the
// backend's own pod: with it, that Envoy and nobody else.
func TestBackendPolicies(t *testing.T) {
	page, err := os.ReadFile("../../docs/backend.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "| Envoy is | the only entry of `from` |")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)`.* \\| `(\\{.*\\})` \\|$").FindAllStringSubmatch(section, -1)
	allowed := map[string]place{
		"standalone": envoyOfShop, "istio/gateway": istioIngress, "envoy-gateway": ownedProxy("envoy-gateway-system", "shop"),
	}
	if len(rows) != len(allowed) {
		t.Fatalf("%d rows of %d", len(rows), len(allowed))
	}
	for _, row := range rows {
		folder := row[1]
		envoy, known := allowed[folder]
		if !known {
			t.Fatalf("%s: nobody says who its Envoy is", folder)
		}
		var from networkingv1.NetworkPolicyPeer
		if err := yaml.UnmarshalStrict([]byte(row[2]), &from); err != nil {
			t.Fatal(folder, err)
		}
		var policy *networkingv1.NetworkPolicy
		for _, o := range overlay(t, "standalone") {
			if o.kind() == "NetworkPolicy" && o.namespace() == "shop" {
				policy = into[networkingv1.NetworkPolicy](t, o)
			}
		}
		policy.Spec.Ingress[0].From = []networkingv1.NetworkPolicyPeer{from}
		c := &judged{ports: map[int]string{8000: "http"}}
		c.policy = matcher.BuildNetworkPolicies(false, []*networkingv1.NetworkPolicy{policy})
		for _, who := range []place{
			envoyOfShop, istioIngress, ownedProxy("envoy-gateway-system", "shop"), ownedProxy("envoy-gateway-system", "other"),
			ownedProxy("elsewhere", "shop"), egController, besideShop, podOfShop, stranger, istioSystem, prometheus, internet,
		} {
			asks := traffic{from: who, to: podOfShop, port: 8000}
			want := who.namespace == envoy.namespace && maps.Equal(who.labels, envoy.labels)
			if got := c.allows(asks); got != want {
				t.Errorf("%s: %v: allowed %t, want %t", folder, who, got, want)
			}
		}
	}
}
