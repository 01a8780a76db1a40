package meshtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/util/protomarshal"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	gatewayscheme "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned/scheme"
	"sigs.k8s.io/yaml"

	"extauthz/envoy/parts"
)

// overlays are all folders that a cluster can be given.
var overlays = []string{"base", "istio/workload", "istio/namespace", "istio/gateway", "istio/gateway-api", "istio/mesh", "istio-ambient", "envoy-gateway", "sidecar", "standalone", "full",
	"meshtest/testdata/production"}

// additions are applied beside an overlay and hold no workload.
var additions = []string{"istio/https-redirect"}

// Every object of every overlay is what its kind's own types say, to the last field; Istio's are valid by Istio's own validation. The operators' are
// left to the API server.
func TestObjectsAreStrict(t *testing.T) {
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	gateway := serializer.NewCodecFactory(gatewayscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	judged := map[string]int{}
	for _, folder := range slices.Concat(overlays, additions) {
		for _, o := range overlay(t, folder) {
			text, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case strings.Contains(o.apiVersion(), "istio.io/"):
				err = validateIstio(o)
			case strings.HasPrefix(o.apiVersion(), "gateway.networking.k8s.io/"):
				_, _, err = gateway.Decode(text, nil, nil)
			case isOfAnOperator(o):
				judged["of an operator"]++
				continue
			default:
				_, _, err = strict.Decode(text, nil, nil)
			}
			judged[o.kind()]++
			if err != nil {
				t.Errorf("%s: %s: %v", folder, o, err)
			}
		}
	}
	t.Log(judged)
	// And the test can fail.
	bad, err := parse("apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: a }\nspec: { replica: 2 }\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: a, namespace: b }\nspec: { actions: DENY }\n")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(bad[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := strict.Decode(text, nil, nil); err == nil {
		t.Error("a field that there is not passes in a Deployment")
	}
	if validateIstio(bad[1]) == nil {
		t.Error("a field that there is not passes in an AuthorizationPolicy")
	}
}

// isOfAnOperator tells the kinds whose types come from projects that are not here; TestAPIServerTakesThem has their definitions.
func isOfAnOperator(o object) bool {
	group, _, _ := strings.Cut(o.apiVersion(), "/")
	return slices.Contains([]string{"monitoring.coreos.com", "external-secrets.io", "cert-manager.io", "gateway.envoyproxy.io"}, group)
}

// closesTCP is what Istio warns of in the DENY policies: ports in their scope that are not HTTP are closed by them, which the policies say themselves.
const closesTCP = "will deny all traffic to TCP ports under its scope"

func validateIstio(o object) error {
	group, version, _ := strings.Cut(o.apiVersion(), "/")
	for _, schema := range collections.Pilot.All() {
		if schema.Kind() != o.kind() || schema.Group() != group {
			continue
		}
		isKnown := func(known config.GroupVersionKind) bool { return known.Version == version }
		if version != schema.Version() && !slices.ContainsFunc(schema.GroupVersionAliasKinds(), isKnown) {
			return fmt.Errorf("Istio has no version %s of it", version)
		}
		spec, err := schema.NewInstance()
		if err != nil {
			return err
		}
		text, err := yaml.Marshal(o.at("spec"))
		if err != nil {
			return err
		}
		message, ok := spec.(proto.Message)
		if !ok {
			return fmt.Errorf("%T", spec)
		}
		if err := protomarshal.ApplyYAMLStrict(string(text), message); err != nil {
			return err
		}
		warning, err := schema.ValidateConfig(config.Config{Meta: config.Meta{GroupVersionKind: schema.GroupVersionKind(), Name: o.name(), Namespace: o.namespace()}, Spec: spec})
		if err == nil && warning != nil && o.kind() != "EnvoyFilter" && !strings.Contains(warning.Error(), closesTCP) {
			err = warning
		}
		return err
	}
	return fmt.Errorf("Istio has no kind %s", o.kind())
}

// into decodes an object into one of Kubernetes' types.
func into[T any](t *testing.T, o object) *T {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	value := new(T)
	if err := json.Unmarshal(text, value); err != nil {
		t.Fatal(err)
	}
	return value
}

// Every variable in the manifests is one that the binary knows, and the binary takes the values.
func TestSettingsAreKnown(t *testing.T) {
	s := startStack(t)
	output, err := exec.CommandContext(t.Context(), s.binary, "config").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"GOMEMLIMIT": true, "GOGC": true, "SSL_CERT_FILE": true} // Go's own
	for line := range strings.Lines(string(output)) {
		known[strings.Fields(line)[0]] = true
	}
	secrets := t.TempDir()
	for name, content := range map[string]string{"better-auth-secret": "a-secret-of-more-than-32-characters!", "database-url": "postgresql://extauthz_reader@db/app"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.WriteFiles(secrets, time.Now().Add(time.Hour), "extauthz"); err != nil {
		t.Fatal(err)
	}
	for _, folder := range overlays {
		objects := overlay(t, folder)
		var environment []string
		for _, o := range objects {
			if o.kind() == "ConfigMap" && strings.HasPrefix(o.name(), "extauthz-") && o.at("data", "BETTER_AUTH_URL") != nil {
				for name, value := range into[corev1.ConfigMap](t, o).Data {
					if !known[name] {
						t.Errorf("%s: there is not a setting %s", folder, name)
					}
					environment = append(environment, name+"="+strings.NewReplacer("/run/secrets/extauthz", secrets, "/run/tls", secrets, "/var/log/extauthz", secrets).Replace(value))
				}
			}
			if o.kind() == "Deployment" {
				pod := into[appsv1.Deployment](t, o).Spec.Template.Spec
				for _, container := range append(pod.InitContainers, pod.Containers...) {
					for _, variable := range container.Env {
						if container.Name == "extauthz" && !known[variable.Name] {
							t.Errorf("%s: there is not a setting %s", folder, variable.Name)
						}
					}
				}
			}
		}
		if len(environment) == 0 {
			t.Errorf("%s: no settings", folder)
			continue
		}
		command := exec.CommandContext(t.Context(), s.binary, "serve", "--dry-run")
		command.Env = environment
		if output, err := command.CombinedOutput(); err != nil || strings.Contains(string(output), "WARN") {
			t.Errorf("%s: %v\n%s", folder, err, output)
		}
	}
}

// Ports, labels, selectors, volumes and configuration match each other, and a pod has the time that its drain takes.
func TestObjectsFitTogether(t *testing.T) {
	for _, folder := range overlays {
		t.Run(folder, func(t *testing.T) {
			objects := overlay(t, folder)
			named := map[string]bool{}
			var deployments []*appsv1.Deployment
			for _, o := range objects {
				named[o.kind()+"/"+o.namespace()+"/"+o.name()] = true
				if o.kind() == "Deployment" {
					deployments = append(deployments, into[appsv1.Deployment](t, o))
				}
			}
			if len(deployments) == 0 {
				t.Fatal("no Deployment")
			}
			for _, d := range deployments {
				checkDeployment(t, objects, named, d)
			}
			for _, o := range objects {
				switch o.kind() {
				case "Service":
					if o.namespace() == "shop" && !slices.ContainsFunc(deployments, func(d *appsv1.Deployment) bool { return d.Namespace == "shop" }) {
						continue // the application is the user's
					}
					checkService(t, into[corev1.Service](t, o), deployments)
				case "HorizontalPodAutoscaler":
					checkAutoscaler(t, into[autoscalingv2.HorizontalPodAutoscaler](t, o), deployments)
				case "PodDisruptionBudget":
					if !selects(into[struct {
						Spec struct {
							Selector struct{ MatchLabels map[string]string }
						}
					}](t, o).Spec.Selector.MatchLabels, o.namespace(), deployments) {
						t.Errorf("%s is for nobody", o)
					}
				}
			}
		})
	}
}

func selects(labels map[string]string, namespace string, deployments []*appsv1.Deployment) bool {
	return len(labels) > 0 && slices.ContainsFunc(deployments, func(d *appsv1.Deployment) bool {
		if d.Namespace != namespace {
			return false
		}
		for name, value := range labels {
			if d.Spec.Template.Labels[name] != value {
				return false
			}
		}
		return true
	})
}

// checkAutoscaler wants each metric to be of a container that there is and that requests what is measured, and nobody else to set the replicas.
func checkAutoscaler(t *testing.T, autoscaler *autoscalingv2.HorizontalPodAutoscaler, deployments []*appsv1.Deployment) {
	t.Helper()
	at := slices.IndexFunc(deployments, func(d *appsv1.Deployment) bool {
		return d.Namespace == autoscaler.Namespace && d.Name == autoscaler.Spec.ScaleTargetRef.Name
	})
	if at < 0 {
		t.Errorf("HorizontalPodAutoscaler %s scales nothing", autoscaler.Name)
		return
	}
	if deployments[at].Spec.Replicas != nil {
		t.Errorf("each apply of %s undoes what its HorizontalPodAutoscaler did", autoscaler.Name)
	}
	for _, metric := range autoscaler.Spec.Metrics {
		if metric.ContainerResource == nil {
			t.Errorf("HorizontalPodAutoscaler %s: %s counts containers that another injects", autoscaler.Name, metric.Type)
			continue
		}
		if !slices.ContainsFunc(allContainers(deployments[at]), func(c corev1.Container) bool {
			_, isRequested := c.Resources.Requests[metric.ContainerResource.Name]
			return c.Name == metric.ContainerResource.Container && isRequested
		}) {
			t.Errorf("HorizontalPodAutoscaler %s: no container %s that requests %s", autoscaler.Name,
				metric.ContainerResource.Container, metric.ContainerResource.Name)
		}
	}
}

func checkService(t *testing.T, service *corev1.Service, deployments []*appsv1.Deployment) {
	t.Helper()
	if !selects(service.Spec.Selector, service.Namespace, deployments) {
		t.Errorf("Service %s selects nobody", service.Name)
	}
	for _, port := range service.Spec.Ports {
		if !slices.ContainsFunc(deployments, func(d *appsv1.Deployment) bool {
			return d.Namespace == service.Namespace && slices.ContainsFunc(allContainers(d), func(c corev1.Container) bool {
				return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
					return p.Name == port.TargetPort.StrVal || p.ContainerPort == port.TargetPort.IntVal
				})
			})
		}) {
			t.Errorf("Service %s: nobody has its target port %s", service.Name, port.TargetPort.String())
		}
	}
}

func allContainers(d *appsv1.Deployment) []corev1.Container {
	pod := d.Spec.Template.Spec
	return append(slices.Clone(pod.InitContainers), pod.Containers...)
}

func checkDeployment(t *testing.T, objects []object, named map[string]bool, d *appsv1.Deployment) {
	t.Helper()
	pod := d.Spec.Template.Spec
	for name, value := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[name] != value {
			t.Errorf("%s does not select its own pods by %s", d.Name, name)
		}
	}
	for _, spread := range pod.TopologySpreadConstraints {
		for name, value := range spread.LabelSelector.MatchLabels {
			if d.Spec.Template.Labels[name] != value {
				t.Errorf("%s is spread by the label %s, which its pods do not have", d.Name, name)
			}
		}
	}
	if pod.ServiceAccountName != "" && !named["ServiceAccount/"+d.Namespace+"/"+pod.ServiceAccountName] {
		t.Errorf("%s: no ServiceAccount %s", d.Name, pod.ServiceAccountName)
	}
	if class := pod.PriorityClassName; class != "" && !named["PriorityClass//"+class] {
		t.Errorf("%s: no PriorityClass %s", d.Name, class)
	}
	volumes := map[string]bool{}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = true
		isGiven := volume.Name == "private-ca" // the user's, by the command that ../private-ca names
		if volume.ConfigMap != nil && !isGiven && !named["ConfigMap/"+d.Namespace+"/"+volume.ConfigMap.Name] {
			t.Errorf("%s: no ConfigMap %s", d.Name, volume.ConfigMap.Name)
		}
	}
	// The application of a pod with native sidecars gets SIGTERM as soon as its own preStop ends, whatever theirs do, and is asked until the
	// endpoint has gone everywhere.
	if slices.ContainsFunc(pod.InitContainers, func(c corev1.Container) bool { return c.RestartPolicy != nil }) {
		for _, container := range pod.Containers {
			if container.Lifecycle == nil || container.Lifecycle.PreStop == nil {
				t.Errorf("%s: %s stops at once, while its sidecars still send requests", d.Name, container.Name)
			}
		}
	}
	var stop int64
	for _, container := range allContainers(d) {
		settings := map[string]string{}
		ports := map[string]int32{}
		for _, port := range container.Ports {
			ports[port.Name] = port.ContainerPort
		}
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] {
				t.Errorf("%s: no volume %s", container.Name, mount.Name)
			}
		}
		for _, from := range container.EnvFrom {
			if !named["ConfigMap/"+d.Namespace+"/"+from.ConfigMapRef.Name] {
				t.Errorf("%s: no ConfigMap %s", container.Name, from.ConfigMapRef.Name)
			}
			for _, o := range objects {
				if o.kind() == "ConfigMap" && o.name() == from.ConfigMapRef.Name && o.namespace() == d.Namespace {
					maps.Copy(settings, into[corev1.ConfigMap](t, o).Data)
				}
			}
		}
		for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe, container.StartupProbe} {
			switch {
			case probe == nil:
			case probe.GRPC != nil:
				if !slices.Contains(slices.Collect(maps.Values(ports)), probe.GRPC.Port) || settings["EXTAUTHZ_TLS_CERT_FILE"] != "" {
					t.Errorf("%s: its gRPC probe fails", container.Name)
				}
			case probe.HTTPGet != nil && ports[probe.HTTPGet.Port.StrVal] == 0, probe.TCPSocket != nil && ports[probe.TCPSocket.Port.StrVal] == 0:
				t.Errorf("%s: a probe of a port that there is not", container.Name)
			}
		}
		if context := container.SecurityContext; context == nil || context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
			t.Errorf("%s: its root can be written", container.Name)
		}
		if container.Resources.Requests.Cpu().IsZero() || container.Resources.Limits.Memory().IsZero() || !container.Resources.Limits.Cpu().IsZero() {
			t.Errorf("%s: resources %v", container.Name, container.Resources)
		}
		time := int64(5) // for what is in flight
		if container.Lifecycle != nil && container.Lifecycle.PreStop != nil {
			switch preStop := container.Lifecycle.PreStop; {
			case preStop.Sleep != nil:
				time += preStop.Sleep.Seconds
			default: // exec, by `timeout Ns …`
				var seconds int64
				if _, err := fmt.Sscanf(strings.Join(preStop.Exec.Command, " "), "timeout %ds ", &seconds); err != nil {
					t.Errorf("%s: how long does %q take? %v", container.Name, preStop.Exec.Command, err)
				}
				time += seconds
			}
		}
		if delay := settings["EXTAUTHZ_SHUTDOWN_DELAY"]; delay != "" {
			var seconds int64
			if _, err := fmt.Sscanf(delay, "%ds", &seconds); err != nil {
				t.Error(err)
			}
			time += seconds
		}
		stop += time // native sidecars end one after another
		if container.Name != "extauthz" {
			continue
		}
		for name, setting := range map[string]string{"grpc": "EXTAUTHZ_LISTEN", "admin": "EXTAUTHZ_ADMIN_LISTEN"} {
			if port, has := ports[name]; has && settings[setting] != fmt.Sprintf(":%d", port) {
				t.Errorf("%s: port %d, and %s=%s", container.Name, port, setting, settings[setting])
			}
		}
		for _, setting := range []string{"BETTER_AUTH_SECRET_FILE", "DATABASE_URL_FILE", "EXTAUTHZ_TLS_CERT_FILE"} {
			if file := settings[setting]; file != "" && !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(file, m.MountPath+"/") }) {
				t.Errorf("%s=%s is not mounted", setting, file)
			}
		}
	}
	if grace := pod.TerminationGracePeriodSeconds; grace != nil && *grace < stop+5 || grace == nil && stop > 25 {
		t.Errorf("%s: a stop takes up to %d s, and it is given %v", d.Name, stop, grace)
	}
}

// The overlays' Envoys have a listener more, for Prometheus, which does not reach the admin interface.
const (
	firstCluster  = "\n  clusters:\n    - name: extauthz\n"
	statsListener = `
    # Only Envoy's statistics of the admin interface, for Prometheus.
    - name: stats
      address: { socket_address: { address: 0.0.0.0, port_value: 9902 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: stats
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: stats
                      domains: ["*"]
                      routes:
                        - match: { path: /stats/prometheus }
                          route: { cluster: admin }

  clusters:
    - name: admin
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: admin
        endpoints:
          - lb_endpoints:
              - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } }

    - name: extauthz
`
)

// The sidecar's drain is the standalone Envoy's, which is tried on real Envoy.
func TestDrainScripts(t *testing.T) {
	standalone, err := os.ReadFile("../standalone/drain.sh")
	if err != nil {
		t.Fatal(err)
	}
	if sidecar, err := os.ReadFile("../sidecar/drain.sh"); err != nil || string(sidecar) != string(standalone) {
		t.Errorf("sidecar/drain.sh is not standalone/drain.sh (%v)", err)
	}
}

// derived are the Envoy configurations of the overlays: the samples of ../../envoy, which are tried there, with these lines changed.
var derived = map[string]struct {
	sample  string
	changes []string // old, new, …
}{
	"sidecar/envoy.yaml": {"unix-socket.yaml", []string{
		firstCluster, statsListener,
		"address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }", "address: { socket_address: { address: 0.0.0.0, port_value: 8080 } }",
	}},
	"standalone/envoy.yaml": {"http.yaml", []string{
		firstCluster, statsListener,
		"address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }", "address: { socket_address: { address: 0.0.0.0, port_value: 8080 } }",
		"type: STATIC # for a name use STRICT_DNS, which balances over all replicas", "type: STRICT_DNS # balances over all replicas",
		"address: 127.0.0.1, port_value: 9191", "address: extauthz-replicas.extauthz.svc.cluster.local, port_value: 9191",
		"    - name: backend\n      type: STATIC\n", "    - name: backend\n      type: STRICT_DNS\n",
		"so only Envoy may connect to it. Its Unix socket is in a folder that\n" +
			"      # only Envoy may enter. For a backend on another host see mtls.yaml; for both see docs/backend.md.\n",
		"so only Envoy may connect to it: see the NetworkPolicy shop.\n",
		parts.BackendPipe, "{ socket_address: { address: shop.shop.svc.cluster.local, port_value: 8000 } }",
	}},
}

// The overlays' Envoy configurations are the samples with a few lines changed, and Envoy finds them valid.
func TestEnvoyConfigurations(t *testing.T) {
	s := startStack(t)
	envoy, err := s.installer.Envoy(parts.EnvoyNewest)
	if err != nil {
		t.Fatal(err)
	}
	for path, d := range derived {
		sample, err := os.ReadFile(filepath.Join("..", "..", "envoy", d.sample))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(d.changes); i += 2 {
			if !strings.Contains(string(sample), d.changes[i]) {
				t.Errorf("%s has no %q", d.sample, d.changes[i])
			}
		}
		_, rest, _ := strings.Cut(string(sample), "\n\n") // its own introduction
		want := "# ../../envoy/" + d.sample + ", which explains each line, with the addresses of this folder's objects.\n# Generated by UPDATE_DOCS=1 go test -run TestEnvoyConfigurations, in ../meshtest.\n\n" + strings.NewReplacer(d.changes...).Replace(rest)
		file := filepath.Join("..", path)
		if os.Getenv("UPDATE_DOCS") != "" {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("%s is not %s with its changes (%v)", path, d.sample, err)
		}
		if output, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "-c", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, output)
		}
	}
}
