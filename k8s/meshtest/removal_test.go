package meshtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
)

// reach is how many of a proxy's HTTP connection managers check, and how many remove a client's identity headers.
type reach struct{ all, check, remove, both int }

func (r reach) String() string {
	return fmt.Sprintf("of %d managers %d check, %d remove the client's headers and %d do both",
		r.all, r.check, r.remove, r.both)
}

// reachOf looks into each filter chain of the proxy that takes requests in; named ones only, where names are given.
func reachOf(t *testing.T, control *xds.FakeDiscoveryServer, proxy *model.Proxy, names ...string) (r reach) {
	t.Helper()
	for _, listener := range control.Listeners(proxy) {
		if len(names) > 0 && !slices.Contains(names, listener.GetName()) {
			continue
		}
		for _, chain := range append(listener.GetFilterChains(), listener.GetDefaultFilterChain()) {
			manager := httpOf(t, chain)
			if manager == nil {
				continue
			}
			checks, removes := isChecked(manager), len(manager.GetEarlyHeaderMutationExtensions()) == 1
			r.all++
			for count, is := range map[*int]bool{&r.check: checks, &r.remove: removes, &r.both: checks && removes} {
				if is {
					*count++
				}
			}
		}
	}
	if r.all == 0 {
		t.Fatal("the proxy has no HTTP")
	}
	return r
}

func isChecked(manager *hcmv3.HttpConnectionManager) bool {
	return slices.ContainsFunc(manager.GetHttpFilters(), func(filter *hcmv3.HttpFilter) bool {
		return strings.Contains(filter.GetName(), "ext_authz")
	})
}

// secured is world whose gateway also serves two names by TLS, each by a filter chain of its own, at one port.
var secured = strings.Replace(world, "servers: [", `servers: [
    { port: { number: 8443, name: https, protocol: HTTPS }, hosts: [shop.example.com],
      tls: { mode: SIMPLE, serverCertificate: /a.crt, privateKey: /a.key } },
    { port: { number: 8443, name: https-b, protocol: HTTPS }, hosts: [b.example.com],
      tls: { mode: SIMPLE, serverCertificate: /b.crt, privateKey: /b.key } },
    `, 1)

// Wherever an overlay has Istio check, it also has it remove the client's identity headers: in each filter chain, for TLS
// and plain text, and for the ports of a pod that no Service names. What is not checked keeps its headers.
func TestIstioRemovesHeadersWhereverItChecks(t *testing.T) {
	gateway := map[string]string{"istio": "ingressgateway"}
	for _, row := range []struct {
		folder string
		pod    workload // the gateway, where it has no address
		open   bool
	}{
		{"istio/workload", shopPod, false}, {"istio/workload", adminPod, false}, {"istio/workload", otherPod, true},
		{"istio/namespace", shopPod, false}, {"istio/namespace", otherPod, true},
		{"istio/mesh", shopPod, false}, {"istio/mesh", otherPod, false}, {"istio/mesh", workload{}, false},
		{"istio/gateway", shopPod, true}, {"istio/gateway", workload{}, false},
	} {
		t.Run(row.folder+" "+row.pod.address, func(t *testing.T) {
			control := pilot(t, overlay(t, row.folder), secured)
			var r reach
			if row.pod.address == "" {
				r = reachOf(t, control, proxyOf(control, model.Router, "istio-ingress", "10.0.0.5", gateway))
				if r.all < 3 {
					t.Errorf("%v: the gateway has fewer than its three chains", r)
				}
			} else {
				proxy := proxyOf(control, model.SidecarProxy, row.pod.namespace, row.pod.address, row.pod.labels)
				r = reachOf(t, control, proxy, "virtualInbound")
			}
			if want := map[bool]int{true: 0, false: r.all}[row.open]; r.check != want || r.remove != want || r.both != want {
				t.Errorf("%v; want %d to do both, and no other", r, want)
			}
		})
	}
	t.Run("istio-ambient", func(t *testing.T) {
		control, proxy := ambient(t, overlay(t, "istio-ambient"))
		if r := reachOf(t, control, proxy); r.check == 0 || r.both != r.check {
			t.Errorf("%v; want each that checks to remove", r)
		}
	})
}

// docs/istio.md names each file of the overlay that has the gateways' namespace in it.
func TestDocsNameTheGatewaysFiles(t *testing.T) {
	page, err := os.ReadFile("../../docs/istio.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "Where your gateways are in another namespace, ")
	sentence, _, _ := strings.Cut(rest, ";")
	files, err := filepath.Glob("../istio/gateway/*.yaml")
	if err != nil || !found || len(files) == 0 {
		t.Fatal(found, files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		named := strings.Contains(sentence, "`"+filepath.Base(file)+"`")
		if named != strings.Contains(string(content), "  namespace: istio-ingress\n") {
			t.Errorf("%s: named %v in %q", file, named, sentence)
		}
	}
}

// In the root namespace, as docs/istio.md has it: the gateway that is selected is checked and loses its clients'
// headers, and no other gateway of the mesh.
func TestGatewayInTheRootNamespace(t *testing.T) {
	labels := map[string]any{"istio": "ingressgateway"}
	var objects []object
	for _, o := range overlay(t, "istio/gateway") {
		spec, _ := o.at("spec").(map[string]any)
		switch o.kind() {
		case "AuthorizationPolicy":
			spec["selector"] = map[string]any{"matchLabels": labels}
		case "EnvoyFilter":
			spec["workloadSelector"] = map[string]any{"labels": labels}
		default:
			objects = append(objects, o)
			continue
		}
		o.at("metadata").(map[string]any)["namespace"] = "istio-system"
		objects = append(objects, o)
	}
	control := pilot(t, objects, strings.ReplaceAll(secured, "namespace: istio-ingress", "namespace: istio-system"))
	selected := map[string]string{"istio": "ingressgateway"}
	if r := gatewayReach(t, control, selected, "istio-system"); r.check != r.all || r.both != r.all {
		t.Errorf("the gateway: %v", r)
	}
	for namespace, other := range map[string]map[string]string{
		"istio-ingress": {"istio": "ingress"}, "istio-system": {"istio": "egressgateway"},
	} {
		more := strings.ReplaceAll(worldOf(other), "namespace: istio-ingress", "namespace: "+namespace)
		if r := gatewayReach(t, pilot(t, objects, more), other, namespace); r.check != 0 || r.remove != 0 {
			t.Errorf("another gateway, in %s: %v", namespace, r)
		}
	}
}
