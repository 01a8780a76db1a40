package meshtest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
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

// cluster is a real API server with a real etcd, and nothing that would run a pod.
type cluster struct {
	url    string
	client *http.Client
	paths  map[string]string // of each apiVersion/kind: its plural, with namespaced/ in front where it is
}

func startCluster(t *testing.T, s *stack) *cluster {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Fatal("etcd is missing; make test-mesh installs it (Debian: etcd-server)")
	}
	program, err := s.installer.KubeAPIServer()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"sa.key":     pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"tokens.csv": []byte("admin-token,admin,admin,system:masters\n"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	storage, peers, address := "http://"+freeAddress(t), "http://"+freeAddress(t), freeAddress(t)
	etcd, err := parts.Start("etcd", folder, nil, exec.Command("etcd", "--data-dir", folder+"/etcd", "--listen-client-urls", storage, "--advertise-client-urls", storage,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Stop() })
	if err := etcd.Await(t.Context(), parts.AnswersHTTP(storage+"/health", 200)); err != nil {
		t.Fatal(err)
	}
	server, err := parts.Start("kube-apiserver", folder, nil, exec.Command(program, "--etcd-servers", storage, "--bind-address", "127.0.0.1", "--secure-port", itoa(portOf(address)), "--cert-dir", folder+"/certs",
		"--service-account-issuer", "https://kubernetes.default", "--service-account-key-file", folder+"/sa.key", "--service-account-signing-key-file", folder+"/sa.key",
		"--token-auth-file", folder+"/tokens.csv", "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	// Its certificate is its own, made at the start.
	c := &cluster{url: "https://" + address, client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, paths: map[string]string{}}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if status, _ := c.call(t, http.MethodGet, "/readyz", "", nil); status == 200 {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(server.LogEnd())
		}
	}
}

func (c *cluster) call(t *testing.T, method, path, contentType string, body []byte) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer admin-token")
	request.Header.Set("Content-Type", contentType)
	response, err := c.client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

// path is where objects of this kind are, by the server's own discovery.
func (c *cluster) path(t *testing.T, o object) (string, bool) {
	t.Helper()
	root := "/apis/" + o.apiVersion()
	if !strings.Contains(o.apiVersion(), "/") {
		root = "/api/" + o.apiVersion()
	}
	key := o.apiVersion() + "/" + o.kind()
	if c.paths[key] == "" {
		status, body := c.call(t, http.MethodGet, root, "", nil)
		var list struct {
			Resources []struct {
				Name, Kind string
				Namespaced bool
			}
		}
		if status != 200 || json.Unmarshal([]byte(body), &list) != nil {
			return "", false
		}
		for _, r := range list.Resources {
			if r.Kind == o.kind() && !strings.Contains(r.Name, "/") {
				c.paths[key] = r.Name
				if r.Namespaced {
					c.paths[key] = "namespaced/" + r.Name
				}
			}
		}
	}
	plural, known := c.paths[key]
	if name, namespaced := strings.CutPrefix(plural, "namespaced/"); namespaced {
		return root + "/namespaces/" + o.namespace() + "/" + name, known
	}
	return root + "/" + plural, known
}

// apply is `kubectl apply --server-side --validate=strict`.
func (c *cluster) apply(t *testing.T, o object) error {
	t.Helper()
	return c.applyTo(t, o, "")
}

// applyTo applies a subresource of it, as in "/status".
func (c *cluster) applyTo(t *testing.T, o object, subresource string) error {
	t.Helper()
	path, known := c.path(t, o)
	if !known {
		return fmt.Errorf("the server knows no %s %s", o.apiVersion(), o.kind())
	}
	text, err := yaml.Marshal(o)
	if err != nil {
		return err
	}
	if status, body := c.call(t, http.MethodPatch, path+"/"+o.name()+subresource+"?fieldManager=test&force=true&fieldValidation=Strict", "application/apply-patch+yaml", text); status != 200 && status != 201 {
		return fmt.Errorf("%s: %d %s", o, status, body)
	}
	return nil
}

// read is what the server has of an object.
func (c *cluster) read(t *testing.T, o object) (now object) {
	t.Helper()
	path, _ := c.path(t, o)
	status, body := c.call(t, http.MethodGet, path+"/"+o.name(), "", nil)
	if err := json.Unmarshal([]byte(body), &now); status != 200 || err != nil {
		t.Fatalf("%s: %d %s", o, status, body)
	}
	return now
}

// operators are the projects whose custom resources are fetched as the data that their modules hold.
var operators = []struct{ name, module, version, sum, folder string }{
	{"envoy-gateway-crds", "github.com/envoyproxy/gateway", "v1.9.1", "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=", "charts/gateway-helm/charts/crds/crds/generated"},
	{"cert-manager-crds", "github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=", "deploy/crds"},
	{"external-secrets-crds", "github.com/external-secrets/external-secrets", "v1.3.2", "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=", "config/crds/bases"},
	{"prometheus-operator-crds", "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=", "example/prometheus-operator-crd"},
}

// moduleFolder is where a module that this one needs lies.
func moduleFolder(t *testing.T, module string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("%s: %v", module, err)
	}
	return strings.TrimSpace(string(output))
}

// definitions are the custom resources of Istio and Gateway API, from the modules that they ship in, and of the operators.
func definitions(t *testing.T, s *stack) (objects []object) {
	t.Helper()
	patterns := []string{moduleFolder(t, "istio.io/istio") + "/manifests/charts/base/files/crd-all.gen.yaml", moduleFolder(t, "sigs.k8s.io/gateway-api") + "/config/crd/standard/*.yaml"}
	for _, o := range operators {
		files, err := s.installer.GoModule(o.name, o.module, o.version, o.sum, o.folder)
		if err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, files+"/*.yaml")
	}
	for _, pattern := range patterns {
		before := len(objects)
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := parse(string(content))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			objects = append(objects, slices.DeleteFunc(parsed, func(o object) bool { return o.kind() != "CustomResourceDefinition" })...)
		}
		if len(objects) == before {
			t.Fatalf("no custom resource in %s", pattern)
		}
	}
	return objects
}

// A real API server takes every object of every overlay by server-side apply, strictly, and admits their pods under the restricted profile; it refuses what breaks it.
func TestAPIServerTakesThem(t *testing.T) {
	s := startStack(t)
	c := startCluster(t, s)
	for _, o := range definitions(t, s) {
		if err := c.apply(t, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"shop", "istio-ingress", "istio-system"} {
		if err := c.apply(t, object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}); err != nil {
			t.Fatal(err)
		}
	}
	applied, pods := map[string]int{}, 0
	for _, folder := range slices.Concat(overlays, additions) {
		objects := overlay(t, folder)
		slices.SortStableFunc(objects, func(a, b object) int { // namespaces and accounts before what is in them
			order := map[string]int{"Namespace": -2, "ServiceAccount": -1, "PriorityClass": -1}
			return order[a.kind()] - order[b.kind()]
		})
		for _, o := range objects {
			var err error
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) { // a custom resource is served a moment after it is defined
				if err = c.apply(t, o); err == nil || time.Now().After(deadline) || !strings.Contains(err.Error(), "the server knows no") {
					break
				}
			}
			if err != nil {
				t.Errorf("%s: %v", folder, err)
				continue
			}
			applied[o.kind()]++
			if o.kind() == "Deployment" {
				pods++
				pod := podOf(o, fmt.Sprintf("%s-%d", o.name(), pods))
				if o.namespace() == "shop" { // which has the default account of a real cluster
					c.apply(t, object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default", "namespace": "shop"}})
				}
				if err := c.apply(t, pod); err != nil {
					t.Errorf("%s: its pod is not admitted: %v", folder, err)
				}
			}
		}
	}
	t.Logf("%d pods admitted; applied: %v", pods, applied)

	// What breaks the rules is refused, so the above says something.
	base := overlay(t, "base")
	deployment := base[slices.IndexFunc(base, func(o object) bool { return o.kind() == "Deployment" })]
	privileged := podOf(deployment, "privileged")
	privileged.at("spec", "containers", 0, "securityContext").(map[string]any)["allowPrivilegeEscalation"] = true
	if err := c.apply(t, privileged); err == nil || !strings.Contains(err.Error(), `violates PodSecurity \"restricted`) {
		t.Errorf("a pod that may gain privileges: %v", err)
	}
	deployment.at("spec", "template", "spec").(map[string]any)["automountServiceAccountTokens"] = false
	if err := c.apply(t, deployment); err == nil || !strings.Contains(err.Error(), "automountServiceAccountTokens") {
		t.Errorf("a field that there is not: %v", err)
	}
	istio := overlay(t, "istio/workload")
	policy := istio[slices.IndexFunc(istio, func(o object) bool { return o.kind() == "AuthorizationPolicy" })]
	policy.at("spec").(map[string]any)["action"] = "CUSTOMS"
	if err := c.apply(t, policy); err == nil {
		t.Error("an action that there is not is taken")
	}
	full := overlay(t, "full")
	for kind, wrong := range map[string]string{"ExternalSecret": "refreshIntervals", "ServiceMonitor": "endpoint",
		"PodMonitor": "podMetricsEndpoint", "PrometheusRule": "rules"} {
		o := full[slices.IndexFunc(full, func(o object) bool { return o.kind() == kind })]
		o.at("spec").(map[string]any)[wrong] = "1m"
		if err := c.apply(t, o); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s with a field that there is not: %v", kind, err)
		}
	}
}

// podOf is a pod as the Deployment's controller would make it.
func podOf(deployment object, name string) object {
	template := deployment.at("spec", "template").(map[string]any)
	text, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{
		"name": name, "namespace": deployment.namespace(), "labels": object(template).at("metadata", "labels")}, "spec": template["spec"]})
	if err != nil {
		panic(err)
	}
	var pod object
	if err := yaml.Unmarshal(text, &pod); err != nil {
		panic(err)
	}
	return pod
}
