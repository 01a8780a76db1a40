package meshtest

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"istio.io/istio/operator/pkg/helm"
	"istio.io/istio/operator/pkg/values"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/util/jsonpath"
)

// chartGateway is the Deployment that Istio's own chart gateway makes for a Helm release of this name.
func chartGateway(t *testing.T, release string) *appsv1.Deployment {
	t.Helper()
	manifests, _, err := helm.Render(release, "istio-ingress", "gateway", values.Map{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		if m.GetKind() == "Deployment" {
			return into[appsv1.Deployment](t, object(m.Object))
		}
	}
	t.Fatal("the chart has no Deployment")
	return nil
}

// releases are names that Istio's docs and their readers give to the chart gateway's release.
var releases = []string{"istio-ingress", "istio-ingressgateway", "ingress", "istio-gateway", "gateway", "public"}

// checkedGateway tells whether Istio has a gateway with these labels ask extauthz; then it must also remove the
// client's identity headers, in all that it serves.
func checkedGateway(t *testing.T, control *xds.FakeDiscoveryServer, labels map[string]string, namespace string) bool {
	t.Helper()
	r := gatewayReach(t, control, labels, namespace)
	if r.both != r.check || r.check != 0 && r.check != r.all {
		t.Errorf("a gateway with %v: %v", labels, r)
	}
	return r.check > 0
}

func gatewayReach(t *testing.T, control *xds.FakeDiscoveryServer, labels map[string]string, namespace string) reach {
	t.Helper()
	return reachOf(t, control, proxyOf(control, model.Router, namespace, "10.0.0.5", labels))
}

// worldOf is world with a gateway that has these labels.
func worldOf(labels map[string]string) string {
	return strings.ReplaceAll(world, "{ istio: ingressgateway }", "{ istio: "+labels["istio"]+" }")
}

// Whatever the Helm release of the ingress gateway is called, it is checked.
func TestGatewayOfAnyRelease(t *testing.T) {
	objects := overlay(t, "istio/gateway")
	for _, release := range releases {
		labels := chartGateway(t, release).Spec.Template.Labels
		if !checkedGateway(t, pilot(t, objects, worldOf(labels)), labels, "istio-ingress") {
			t.Errorf("the release %s, with %v, is not checked", release, labels)
		}
	}
	// A selector by one release's label, which istioctl's default profile and older charts had, leaves the others open.
	var selected []object
	for _, o := range objects {
		if o.kind() == "AuthorizationPolicy" {
			o.at("spec").(map[string]any)["selector"] = map[string]any{"matchLabels": map[string]any{"istio": "ingressgateway"}}
		}
		selected = append(selected, o)
	}
	labels := chartGateway(t, "istio-ingress").Spec.Template.Labels
	if checkedGateway(t, pilot(t, selected, worldOf(labels)), labels, "istio-ingress") {
		t.Error("a selector that the pod does not match selects it")
	}
}

// The command of docs/istio.md that lists gateways finds every release's pods and no sidecar's.
func TestGatewaysAreListed(t *testing.T) {
	page, err := os.ReadFile("../../docs/istio.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "kubectl get pods -A -o jsonpath='")
	template, filter, found := strings.Cut(rest, "' | grep ")
	if !found || !strings.HasPrefix(filter, "'\"router\"'") {
		t.Fatal("docs/istio.md has no such command")
	}
	var pods []any
	pod := func(namespace, name, role string) {
		pods = append(pods, map[string]any{"metadata": map[string]any{"namespace": namespace, "name": name},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "istio-proxy", "args": []any{"proxy", role, "--domain", "x"}}}}})
	}
	for _, release := range releases {
		pod("istio-ingress", chartGateway(t, release).Name, "router") // as the injection template gateway makes its container
	}
	pod("shop", "shop", "sidecar")
	pod("shop", "waypoint", "waypoint")
	for file, role := range map[string]string{"gateway-injection-template.yaml": "router", "kube-gateway.yaml": "router", "injection-template.yaml": "sidecar", "waypoint.yaml": "waypoint"} {
		text, err := os.ReadFile(moduleFolder(t, "istio.io/istio") + "/manifests/charts/istio-control/istio-discovery/files/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "- proxy\n") || !strings.Contains(string(text), "- "+role+"\n") {
			t.Errorf("%s does not start the proxy as %s", file, role)
		}
	}
	list, err := json.Marshal(map[string]any{"items": pods})
	if err != nil {
		t.Fatal(err)
	}
	var data any
	if err := json.Unmarshal(list, &data); err != nil {
		t.Fatal(err)
	}
	parsed := jsonpath.New("docs")
	if err := parsed.Parse(template); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	if err := parsed.Execute(&output, data); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(output.String()) {
		if strings.Contains(line, `"router"`) {
			listed = append(listed, line)
		}
	}
	if len(listed) != len(releases) {
		t.Errorf("%d gateways of %d are listed:\n%s", len(listed), len(releases), output.String())
	}
}

// gatewayAPI is a Gateway with its route, and the Service and pod that Istio makes for it.
const gatewayAPI = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: NAME, namespace: istio-ingress }
spec:
  gatewayClassName: istio
  listeners: [{ name: http, port: 8080, protocol: HTTP, allowedRoutes: { namespaces: { from: All } } }]
---
apiVersion: v1
kind: Service
metadata:
  name: NAME-istio
  namespace: istio-ingress
  labels: { gateway.networking.k8s.io/gateway-name: NAME }
spec: { clusterIP: 3.0.1.1, ports: [{ name: http, port: 8080 }], selector: { gateway.networking.k8s.io/gateway-name: NAME } }
---
apiVersion: v1
kind: Pod
metadata: { name: NAME-istio, namespace: istio-ingress, labels: { gateway.networking.k8s.io/gateway-name: NAME } }
spec: {}
status: { conditions: [{ type: Ready, status: "True" }], podIP: 10.0.0.5, podIPs: [{ ip: 10.0.0.5 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: istio-ingress }
spec:
  parentRefs: [{ name: NAME }]
  rules: [{ backendRefs: [{ name: NAME-istio, port: 8080 }] }]
`

// With istio/gateway-api the Gateway that it names is checked and no other, and no other loses its clients' headers; with
// istio/gateway every one of the namespace.
func TestGatewayAPIPolicies(t *testing.T) {
	for _, row := range []struct {
		folder, gateway string
		checked         bool
	}{
		{"istio/gateway-api", "ingress", true},
		{"istio/gateway-api", "another", false},
		{"istio/gateway", "ingress", true},
		{"istio/gateway", "another", true},
	} {
		labels := map[string]string{"gateway.networking.k8s.io/gateway-name": row.gateway}
		control := gatewayAPIPilot(t, overlay(t, row.folder), strings.ReplaceAll(gatewayAPI, "NAME", row.gateway))
		r := gatewayReach(t, control, labels, "istio-ingress")
		if want := map[bool]int{true: r.all}[row.checked]; r.check != want || r.remove != want {
			t.Errorf("%s, the Gateway %s: %v; want %d to do both", row.folder, row.gateway, r, want)
		}
	}
}

// gatewayAPIPilot is pilot with objects of Kubernetes' own beside.
func gatewayAPIPilot(t *testing.T, objects []object, more string) *xds.FakeDiscoveryServer {
	t.Helper()
	istio := yamlOf(istioObjects(objects))
	return xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: istio + world + more, KubernetesObjectString: istio + more, MeshConfig: meshSettings(t)})
}
