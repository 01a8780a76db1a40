package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/doctor/envoy"
)

// Two filters, of which one stands before CORS, and a listener that is not checked.
func TestDoctorReadsFilterOrder(t *testing.T) {
	const manager = `{"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": `
	config := `{"a": ` + manager + `"checked", "http_filters": [
		{"typed_config": {"@type": "x/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"}}, {"typed_config": {"@type": "x/envoy.extensions.filters.http.cors.v3.Cors"}}]},
		"b": ` + manager + `"open"}}`
	path := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	Print(&text, envoy.Diagnose(t.Context(), path, nil))
	for _, want := range []string{"FAIL  envoy       CORS: its filter stands behind ext_authz", "warn  envoy       filter: not in open", "FAIL  envoy       service: not by gRPC"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
