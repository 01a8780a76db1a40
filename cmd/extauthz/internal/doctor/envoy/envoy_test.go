package envoy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/extauthz/operator"
)

// Each mistake in Envoy's configuration is found, and nothing in the samples.
func TestDoctorReadsEnvoyConfig(t *testing.T) {
	for _, row := range []struct {
		sample, from, to string
		want             string // level and what was tried; empty for none
	}{
		{"http.yaml", "", "", ""},
		{"mtls.yaml", "", "", ""},
		{"tracing.yaml", "", "", ""},
		{"unix-socket.yaml", "", "", ""},
		{"public-routes.yaml", "", "", ""},
		{"http.yaml", "failure_mode_allow: false", "failure_mode_allow: true", "failure failure_mode_allow"},
		{"http.yaml", "failure_mode_allow: false", "failureModeAllow: true", "failure failure_mode_allow"},
		{"http.yaml", "status_on_error: { code: ServiceUnavailable }", "", "warning status_on_error"},
		{"http.yaml", "timeout: 0.5s\n                      #", "#", "warning timeout"},
		{"http.yaml", "timeout: 0.5s\n                      #", "timeout: 0.4s\n                      #", "warning timeout"},
		{"http.yaml", "timeout: 0.5s\n                      #", "timeout: 600s\n                      #", "warning timeout"},
		{"http.yaml", "clear_route_cache: false", "clear_route_cache: true", "warning clear_route_cache"},
		{"http.yaml", "max_interval: 0.5s", "max_interval: 0.02s", "warning retry_policy"},
		{"http.yaml", ", max_interval: 0.5s", "", "warning retry_policy"},
		{"http.yaml", "retry_back_off: { base_interval: 0.005s, max_interval: 0.5s }", "", "warning retry_policy"},
		{"http.yaml", "refused-stream,reset", "resource-exhausted, reset", "warning retry_policy"},
		{"http.yaml", "validate_mutations: true", "", "warning validate_mutations"},
		{"http.yaml", "validate_mutations: true", "validate_mutations: true\n                      allowed_headers: { patterns: [{ exact: authorization }] }", "failure allowed_headers"},
		{"http.yaml", "validate_mutations: true", "validate_mutations: true\n                      disallowed_headers: { patterns: [{ exact: cookie }] }", "failure allowed_headers"},
		{"http.yaml", "validate_mutations: true", "validate_mutations: true\n                      allowed_headers: { patterns: [{ exact: authorization }, { exact: cookie }, { exact: origin }, { prefix: sec- }, { exact: upgrade }] }", "warning allowed_headers"},
		{"http.yaml", "validate_mutations: true", "validate_mutations: true\n                      filter_enabled: { default_value: { numerator: 50 } }", "warning filter_enabled"},
		{"http.yaml", "validate_mutations: true", "validate_mutations: 7", "failure ext_authz"},
		{"http.yaml", "envoy_grpc: { cluster_name: extauthz }", "envoy_grpc: { cluster_name: missing }", "failure cluster missing"},
		{"http.yaml", "explicit_http_config: { http2_protocol_options: {} }", "explicit_http_config: { http_protocol_options: {} }", "failure cluster extauthz"},
		{"http.yaml", "ext_authz.v3.ExtAuthz\n", "another.v3.Filter\n", "failure filter"},
		{"http.yaml", "normalize_path: true", "", "warning paths"},
		{"http.yaml", "headers_with_underscores_action: REJECT_REQUEST", "max_headers_count: 50", "warning underscores"},
		{"http.yaml", "- match: { prefix: / }", "- match: { prefix: / }\n                          request_headers_to_remove: [x-user-id]", "failure header rules"},
		{"http.yaml", "- match: { prefix: / }", "- match: { prefix: / }\n                          request_headers_to_add: [{ header: { key: X-User-Id, value: admin } }]", "failure header rules"},
		{"public-routes.yaml", "match: { path: /health }", "match: { prefix: /health }", "warning open routes"},
		{"public-routes.yaml", `regex: "x[^a-z0-9](user|auth)[^a-z0-9].*" } }`, `regex: "x-(user|auth)-.*" } }`,
			"warning open routes"},
		{"public-routes.yaml", `envoy.filters.http.header_mutation:`, `another.filter.by.that.config:`, "warning open routes"},
	} {
		content, err := os.ReadFile("../../../../../envoy/" + row.sample)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(content), row.from, row.to, 1)
		if row.from != "" && changed == string(content) {
			t.Fatalf("%s has no %q", row.sample, row.from)
		}
		path := filepath.Join(t.TempDir(), row.sample)
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		var worse []string
		for _, f := range Diagnose(t.Context(), path, nil) {
			if f.Level != operator.LevelOK {
				worse = append(worse, string(f.Level)+" "+f.Tried)
				if f.Fix == "" {
					t.Errorf("%+v says not what to do", f)
				}
			}
		}
		if got := strings.Join(worse, ", "); got != row.want {
			t.Errorf("%s with %q for %q: %s, want %s", row.sample, row.to, row.from, got, row.want)
		}
	}
}
