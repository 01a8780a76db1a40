package monitoring

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// port is a container's or a Service's.
type port struct {
	Name          string
	ContainerPort int `yaml:"containerPort"`
}

// object is what is looked at of monitors and of what they select.
type object struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Ports               []port
		Endpoints           []struct{ Port string }
		PodMetricsEndpoints []struct{ Port string } `yaml:"podMetricsEndpoints"`
		Template            struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				InitContainers []struct{ Ports []port } `yaml:"initContainers"`
				Containers     []struct{ Ports []port }
			}
		}
	}
}

// objects are those of a file that are of this kind.
func objects(t *testing.T, path, kind string) (found []object) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var o object
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			return found
		}
		if o.Kind == kind {
			found = append(found, o)
		}
	}
}

// A monitor that selects nothing says so nowhere: each selects the pods that it is for, by labels and ports that they
// have, and Envoy listens where the port says.
func TestMonitorsSelect(t *testing.T) {
	matches := func(selector, labels map[string]string) bool {
		for name, value := range selector {
			if labels[name] != value {
				return false
			}
		}
		return len(selector) > 0
	}
	service := objects(t, "servicemonitor.yaml", "ServiceMonitor")[0]
	isSelected := slices.ContainsFunc(objects(t, "../base/service.yaml", "Service"), func(o object) bool {
		return matches(service.Spec.Selector.MatchLabels, o.Metadata.Labels) &&
			slices.ContainsFunc(o.Spec.Ports, func(p port) bool { return p.Name == service.Spec.Endpoints[0].Port })
	})
	if !isSelected {
		t.Error("the ServiceMonitor selects no Service of the base")
	}
	pods := objects(t, "podmonitor.yaml", "PodMonitor")[0]
	for path, want := range map[string][]string{
		"../standalone/envoy.deployment.yaml": {"stats"}, "../sidecar/deployment.yaml": {"stats", "admin"},
	} {
		template := objects(t, path, "Deployment")[0].Spec.Template
		if !matches(pods.Spec.Selector.MatchLabels, template.Metadata.Labels) {
			t.Errorf("the PodMonitor %s does not select the pods of %s", pods.Metadata.Name, path)
		}
		ports := map[string]int{}
		for _, container := range append(template.Spec.InitContainers, template.Spec.Containers...) {
			for _, p := range container.Ports {
				ports[p.Name] = p.ContainerPort
			}
		}
		for _, name := range want {
			isScraped := slices.ContainsFunc(pods.Spec.PodMetricsEndpoints, func(e struct{ Port string }) bool {
				return e.Port == name
			})
			if !isScraped || ports[name] == 0 {
				t.Errorf("%s: the port %s is scraped: %t, and is %d", path, name, isScraped, ports[name])
			}
		}
		folder, _, _ := strings.Cut(strings.TrimPrefix(path, "../"), "/")
		envoy, err := os.ReadFile("../" + folder + "/envoy.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(envoy, []byte("address: 0.0.0.0, port_value: 9902 ")) || ports["stats"] != 9902 {
			t.Errorf("%s: Envoy has no listener for its statistics at the port %d", path, ports["stats"])
		}
	}
}
