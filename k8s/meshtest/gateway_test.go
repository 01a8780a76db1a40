package meshtest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"extauthz/envoy/parts"
)

const (
	egctlModule  = "github.com/envoyproxy/gateway"
	egctlVersion = "v1.9.1"
)

// gatewayKinds are the objects that Envoy Gateway reads.
var gatewayKinds = []string{"GatewayClass", "Gateway", "HTTPRoute", "Service", "SecurityPolicy", "ReferenceGrant", "BackendTLSPolicy", "ClientTrafficPolicy"}

// translate is what Envoy Gateway's own translator makes of the objects, for Envoy, as `egctl x translate` prints it.
func (s *stack) translate(t *testing.T, objects []object, authority []byte) object {
	t.Helper()
	egctl, err := s.installer.GoProgram("egctl", egctlModule, egctlVersion, "cmd/egctl")
	if err != nil {
		t.Fatal(err)
	}
	var kept []object
	for _, o := range objects {
		if slices.Contains(gatewayKinds, o.kind()) {
			if o.kind() == "Service" && o.text("spec", "clusterIP") == "" {
				o["spec"].(map[string]any)["clusterIP"] = "10.96.0.1" // which a cluster gives
			}
			kept = append(kept, o)
		}
	}
	more, err := parse(`apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Service
metadata: { name: shop, namespace: shop }
spec: { clusterIP: 10.96.0.2, ports: [{ name: http, port: 8000, targetPort: 8000 }], selector: { app: shop } }
`)
	if err != nil {
		t.Fatal(err)
	}
	kept = append(append(kept, more...), object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "extauthz-ca", "namespace": "extauthz"},
		"data": map[string]any{"ca.crt": string(authority)}})
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(yamlOf(kept)), 0o600); err != nil {
		t.Fatal(err)
	}
	var output, errors strings.Builder
	command := exec.CommandContext(t.Context(), egctl, "x", "translate", "--from", "gateway-api", "--to", "xds", "-t", "all", "-o", "yaml", "-f", file)
	command.Stdout, command.Stderr = &output, &errors
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errors.String())
	}
	var translated object
	if err := yaml.Unmarshal([]byte(output.String()), &translated); err != nil {
		t.Fatal(err)
	}
	return translated
}

// dump takes one of the dumps out of a translation.
func dump(translated object, kind, list string) (entries []object) {
	configs, _ := translated.at("xds", "shop/shop", "configs").([]any)
	for _, config := range configs {
		o := object(config.(map[string]any))
		if strings.HasSuffix(o.text("@type"), kind) {
			inner, _ := o.at(list).([]any)
			for _, entry := range inner {
				entries = append(entries, object(entry.(map[string]any)))
			}
		}
	}
	return entries
}

// runEnvoyGateway has real Envoy run the translation: routes, endpoints and certificate authority, which Envoy Gateway serves, are put in their place,
// addresses are those of this machine, and nothing else is changed.
func (s *stack) runEnvoyGateway(t *testing.T, translated object, authority []byte, checks ...string) string {
	t.Helper()
	listen := freeAddress(t)
	address := func(address string) map[string]any {
		host, _, _ := strings.Cut(address, ":")
		return map[string]any{"socketAddress": map[string]any{"address": host, "portValue": portOf(address)}}
	}
	var listeners, clusters []any
	for _, entry := range dump(translated, "ListenersConfigDump", "dynamicListeners") {
		listener := object(entry.at("activeState", "listener").(map[string]any))
		if listener.name() != "" || listener.text("name") != "shop/shop/http" {
			continue
		}
		delete(listener, "accessLog")
		listener["address"] = address(listen)
		manager := listener.at("defaultFilterChain", "filters", 0, "typedConfig").(map[string]any)
		delete(manager, "accessLog")
		delete(manager, "rds")
		for _, routes := range dump(translated, "RoutesConfigDump", "dynamicRouteConfigs") {
			config := routes.at("routeConfig").(map[string]any)
			delete(config, "@type")
			manager["routeConfig"] = config
		}
		listeners = append(listeners, withoutType(listener))
	}
	endpoints := map[string]object{}
	for _, entry := range dump(translated, "EndpointsConfigDump", "dynamicEndpointConfigs") {
		config := object(entry.at("endpointConfig").(map[string]any))
		endpoints[config.text("clusterName")] = config
	}
	for _, entry := range dump(translated, "ClustersConfigDump", "dynamicActiveClusters") {
		cluster := object(entry.at("cluster").(map[string]any))
		name := cluster.text("name")
		to := []string{s.backend.Listener.Addr().String()}
		if strings.HasPrefix(name, "securitypolicy/") {
			to = checks
			if !putAuthority(cluster, authority) {
				t.Errorf("%s: no TLS, or no authority to believe", name)
			}
		}
		assignment := endpoints[name]
		delete(assignment, "@type")
		endpoint, err := json.Marshal(assignment.at("endpoints", 0, "lbEndpoints", 0))
		if err != nil {
			t.Fatal(err)
		}
		var all []any
		for _, one := range to {
			var copied object
			if err := json.Unmarshal(endpoint, &copied); err != nil {
				t.Fatal(err)
			}
			copied.at("endpoint").(map[string]any)["address"] = address(one)
			all = append(all, map[string]any(copied))
		}
		assignment.at("endpoints", 0).(map[string]any)["lbEndpoints"] = all
		delete(cluster, "edsClusterConfig")
		cluster["type"], cluster["loadAssignment"] = "STATIC", map[string]any(assignment)
		clusters = append(clusters, withoutType(cluster))
	}
	config, err := json.Marshal(map[string]any{"node": map[string]any{"id": "mesh-test", "cluster": "mesh-test"}, "staticResources": map[string]any{"listeners": listeners, "clusters": clusters}})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "envoy.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	process, err := s.installer.StartEnvoy(ctx, folder, parts.EnvoyNewest, file, listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	return "http://" + listen
}

func withoutType(o object) map[string]any {
	delete(o, "@type")
	return o
}

// putAuthority puts the certificate authority in place of the name by which Envoy would fetch it from Envoy Gateway.
func putAuthority(value any, authority []byte) (found bool) {
	switch value := value.(type) {
	case object:
		return putAuthority(map[string]any(value), authority)
	case map[string]any:
		if combined, ok := value["combinedValidationContext"].(map[string]any); ok {
			context, _ := combined["defaultValidationContext"].(map[string]any)
			if context == nil || context["matchTypedSubjectAltNames"] == nil {
				return false // it would believe any name
			}
			context["trustedCa"] = map[string]any{"inlineString": string(authority)}
			delete(value, "combinedValidationContext")
			value["validationContext"] = context
			return true
		}
		for _, inner := range value {
			found = putAuthority(inner, authority) || found
		}
	case []any:
		for _, inner := range value {
			found = putAuthority(inner, authority) || found
		}
	}
	return found
}

// startExtauthzTLS runs extauthz with a certificate of this name.
func (s *stack) startExtauthzTLS(t *testing.T, authority *parts.Authority, name string) (*parts.Process, string) {
	t.Helper()
	folder := t.TempDir()
	if err := authority.WriteFiles(folder, time.Now().Add(time.Hour), name); err != nil {
		t.Fatal(err)
	}
	return s.startExtauthz(t, "EXTAUTHZ_TLS_CERT_FILE="+folder+"/tls.crt", "EXTAUTHZ_TLS_KEY_FILE="+folder+"/tls.key")
}

const inCluster = "extauthz.extauthz.svc.cluster.local"

// Envoy Gateway's own translator turns the objects into what real Envoy enforces in front of real extauthz, over TLS.
func TestEnvoyGatewayEnforces(t *testing.T) {
	s := startStack(t)
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	process, checks := s.startExtauthzTLS(t, authority, inCluster)
	url := s.runEnvoyGateway(t, s.translate(t, overlay(t, "envoy-gateway"), authority.Certificate), authority.Certificate, checks)
	authorization := "Authorization: Bearer " + s.token(t)
	expect := func(title, path string, status int, user string, headers ...string) {
		t.Helper()
		ask := get
		if status == 503 {
			ask = getOnce
		}
		a := ask(t, url+path, headers...)
		if a.status != status || a.status == 200 && strings.Join(a.received["X-User-Id"], ",") != user || len(spoofed(a.received)) > 0 {
			t.Errorf("%s: %d %s, want %d and %q", title, a.status, a.body, status, user)
		}
	}
	expect("no credential", "/api/me", 401, "")
	expect("a JWT", "/api/me", 200, "jwt-user", authorization)
	expect("a session token", "/api/me", 200, "session-user", "Authorization: Bearer "+session)
	expect("a forged JWT", "/api/me", 401, "", authorization[:len(authorization)-8]+"AAAAAAAA")
	expect("a spoofed identity", "/api/me", 200, "jwt-user", authorization, "X-User-Id: admin", "X-User-Role: admin")
	expect("one spelt with underscores", "/api/me", 400, "", authorization, "x_user_id: admin")
	expect("the public path", "/health", 200, "")
	expect("the public path and a spoofed identity", "/health", 200, "", "X-User-Id: admin")
	every := slices.DeleteFunc(spoofedHeaders(), func(header string) bool { return strings.Contains(header, "_") }) // 400
	expect("the public path and every spelling", "/health", 200, "", every...)
	expect("every spelling beside a JWT", "/api/me", 200, "jwt-user", append(every, authorization)...)
	expect("a path that only begins as the public one", "/health/x", 401, "")
	expect("an escaped slash", "/health%2f..%2fapi/me", 400, "")
	expect("a JWT where a session is wanted", "/admin", 403, "", authorization)
	expect("a session where one is wanted", "/admin", 200, "session-user", "Authorization: Bearer "+session)
	process.Stop()
	expect("extauthz is down", "/api/me", 503, "", authorization)
	expect("the public path while it is", "/health", 200, "")
}

// Replicas are killed, and every request is answered, before Envoy knows and after: by what the overlay's backendSettings become.
func TestEnvoyGatewayAsksAnotherReplica(t *testing.T) {
	s := startStack(t)
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	var replicas []*parts.Process
	var checks []string
	for range 3 {
		process, address := s.startExtauthzTLS(t, authority, inCluster)
		replicas, checks = append(replicas, process), append(checks, address)
	}
	objects := overlay(t, "envoy-gateway")
	for _, o := range objects {
		if extAuth, ok := o.at("spec", "extAuth").(map[string]any); ok && o.kind() == "SecurityPolicy" {
			extAuth["timeout"] = "5s" // Envoy's own 503 is then of a replica, and not of a busy machine
		}
	}
	url := s.runEnvoyGateway(t, s.translate(t, objects, authority.Certificate), authority.Certificate, checks...)
	authorization := "Authorization: Bearer " + s.token(t)
	if a := get(t, url+"/api/me", authorization); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	answered := func(title string) {
		t.Helper()
		for i := range 60 {
			if a := getOnce(t, url+"/api/me", authorization); a.status != 200 {
				t.Errorf("%s: request %d: %d %s", title, i, a.status, a.body)
				return
			}
		}
	}
	answered("all three alive")
	for i, title := range []string{"one killed", "two killed"} {
		replicas[i].Kill()
		answered(title)
	}
	if a := get(t, url+"/api/me", authorization[:len(authorization)-8]+"AAAAAAAA"); a.status != 401 {
		t.Errorf("a forged JWT meanwhile: %d %s, want 401", a.status, a.body)
	}
}

// Another server with a certificate of another name is not believed, though the same authority signed it.
func TestEnvoyGatewayBelievesNoOther(t *testing.T) {
	s := startStack(t)
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	_, checks := s.startExtauthzTLS(t, authority, "other.extauthz.svc.cluster.local")
	url := s.runEnvoyGateway(t, s.translate(t, overlay(t, "envoy-gateway"), authority.Certificate), authority.Certificate, checks)
	if a := getOnce(t, url+"/api/me", "Authorization: Bearer "+s.token(t)); a.status != 503 {
		t.Errorf("%d %s, want 503", a.status, a.body)
	}
}

// A reference that leads nowhere closes the route.
func TestEnvoyGatewayFailsClosed(t *testing.T) {
	s := startStack(t)
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	objects := without(overlay(t, "envoy-gateway"), "ReferenceGrant", "shop-may-ask")
	url := s.runEnvoyGateway(t, s.translate(t, objects, authority.Certificate), authority.Certificate, freeAddress(t))
	for _, headers := range [][]string{nil, {"Authorization: Bearer " + s.token(t)}} {
		if a := get(t, url+"/api/me", headers...); a.status != 500 {
			t.Errorf("%d %s, want 500", a.status, a.body)
		}
	}
	if a := get(t, url+"/health"); a.status != 200 {
		t.Errorf("the public path: %d %s", a.status, a.body)
	}
}
