package meshtest

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2/loader"
	"istio.io/istio/operator/pkg/helm"
	"istio.io/istio/operator/pkg/values"
	"sigs.k8s.io/yaml"
)

// providersOf are the extension providers of the mesh, as Istio's own chart istiod writes them by these Helm values.
func providersOf(t *testing.T, set map[string]any) (names []string) {
	t.Helper()
	manifests, _, err := helm.Render("istiod", "istio-system", "istio-control/istio-discovery", values.Map{"spec": map[string]any{"values": set}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		if m.GetKind() != "ConfigMap" || m.GetName() != "istio" {
			continue
		}
		var mesh struct {
			PathNormalization  struct{ Normalization string }
			ExtensionProviders []struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(object(m.Object).text("data", "mesh")), &mesh); err != nil {
			t.Fatal(err)
		}
		if mesh.PathNormalization.Normalization != "DECODE_AND_MERGE_SLASHES" {
			t.Errorf("paths are normalised by %q", mesh.PathNormalization.Normalization)
		}
		for _, p := range mesh.ExtensionProviders {
			names = append(names, p.Name)
		}
		return names
	}
	t.Fatal("the chart istiod has no mesh configuration")
	return nil
}

// What docs/istio.md does with the values of a mesh that has a provider already, by Helm's own merging of values and Istio's own chart.
func TestHelmKeepsOtherProviders(t *testing.T) {
	read := func(text string) map[string]any {
		var v map[string]any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	const tracing = "{ name: otel, opentelemetry: { service: otel.monitoring.svc.cluster.local, port: 4317 } }"
	content, err := os.ReadFile("../istio/mesh-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ours := string(content)
	theirs := "{ meshConfig: { accessLogFile: /dev/stdout, extensionProviders: [" + tracing + "] }, pilot: { env: { A: b } } }"
	const list = "  extensionProviders:"
	before, after, found := strings.Cut(ours, list)
	if !found {
		t.Fatal("mesh-config.yaml has no list of providers")
	}
	comment, entries, _ := strings.Cut(after, "\n")
	withTheirs := before + list + comment + "\n    - " + tracing + "\n" + entries

	merged := chart.MergeMaps(read(theirs), read(withTheirs)) // -f istiod-values.yaml -f mesh-config.yaml
	if names := providersOf(t, merged); !slices.Equal(names, []string{"otel", "extauthz"}) {
		t.Errorf("as the docs say: the providers are %v", names)
	}
	if mesh := merged["meshConfig"].(map[string]any); mesh["accessLogFile"] != "/dev/stdout" || len(merged["pilot"].(map[string]any)) != 1 {
		t.Errorf("other values are lost: %v", merged)
	}
	// Without the copying, in both ways of Helm, a provider is lost.
	if names := providersOf(t, chart.MergeMaps(read(theirs), read(ours))); !slices.Equal(names, []string{"extauthz"}) {
		t.Errorf("Helm merges lists now: %v; docs/istio.md may say less", names)
	}
	if names := providersOf(t, chartutil.CoalesceTables(maps.Clone(read(ours)), read(theirs))); !slices.Equal(names, []string{"extauthz"}) { // --reuse-values
		t.Errorf("--reuse-values merges lists now: %v; docs/istio.md may say less", names)
	}
}
