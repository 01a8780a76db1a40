package envoy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/extauthz/operator"
)

const (
	managerType = `"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"`
	goodAuthz   = `{"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "transport_api_version": "V3",
		"grpc_service": {"envoy_grpc": {"cluster_name": "extauthz"}, "timeout": "0.5s"}, "status_on_error": {"code": "ServiceUnavailable"}, "validate_mutations": true}`
	goodPaths = `"normalize_path": true, "merge_slashes": true, "path_with_escaped_slashes_action": "REJECT_REQUEST",
		"common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"}`
	goodClusters = `{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [
		{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "extauthz", "outlier_detection": {},
			"transport_socket": {"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "secret-of-the-key": 7}},
			"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
				"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}}}]}`
	off = `"typed_per_filter_config": {"envoy.filters.http.ext_authz": {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", "disabled": true}}`
)

// dump is a config_dump of an Envoy with one listener.
func dump(filters, specifier string, more ...string) string {
	listener := `{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{"name": "l", "active_state": {"listener": {
		"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l", "default_filter_chain": {"filters": [
			{"name": "istio.metadata", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange", "value": {"protocol": "x"}}},
			{"name": "hcm", "typed_config": {` + managerType + `, "stat_prefix": "in", ` + goodPaths + `, "http_filters": [` + filters + `], ` + specifier + `}}]}}}}]}`
	return `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"static_resources": {"listeners": [{"name": "twice", "filter_chains": []}]}}},
		{"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump", "dynamic_active_secrets": [{"secret": {"name": "key", "tls_certificate": {"private_key": {"inline_string": "secret-of-the-key"}}}}]},
		` + strings.Join(append([]string{goodClusters, listener}, more...), ",") + `]}`
}

// onFor turns a filter on for a route, as Envoy Gateway does.
func onFor(filter string) string {
	return `"typed_per_filter_config": {"` + filter + `": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}}`
}

func authzFilterNamed(name, config string) string {
	return fmt.Sprintf(`{"name": %q, "typed_config": %s},`, name, config)
}

// Dumps of control planes: routes by RDS and in scopes, filters by ECDS, extensions that this binary does not link.
func TestDoctorReadsDumps(t *testing.T) {
	const router = `{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}`
	const istio = `{"name": "istio.alpn", "typed_config": {"@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", "alpn_override": [{"alpn_override": ["istio"]}]}},
		{"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig", "disable_host_header_fallback": true}},`
	authz := authzFilterNamed("envoy.filters.http.ext_authz", goodAuthz)
	routes := func(name, more string) string {
		return `{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "` + name + `", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}` + more + `}]}]}`
	}
	rds := func(routes string) string {
		return `{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [{"version_info": "1", "route_config": ` + routes + `}]}`
	}
	ecds := func(config string) string {
		return `{"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump", "ecds_filters": [{"ecds_filter": {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "envoy.filters.http.ext_authz", "typed_config": ` + config + `}}]}`
	}
	byECDS := `{"name": "envoy.filters.http.ext_authz", "config_discovery": {"config_source": {"ads": {}}, "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"]}},`
	byName := `"rds": {"route_config_name": "r"}`
	for _, row := range []struct {
		title, dump string
		want        []string // what is not well
	}{
		{"RDS", dump(authz+istio+router, byName, rds(routes("r", ""))), nil},
		{"RDS, off on a route", dump(authz+router, byName, rds(routes("r", ", "+off))), []string{"failure open routes", "failure open routes"}},
		{"RDS, not in the dump", dump(authz+router, byName), []string{"warning routes"}},
		{"scopes", dump(authz+router, `"scoped_routes": {"name": "s", "scoped_rds": {}}`, `{"@type": "type.googleapis.com/envoy.admin.v3.ScopedRoutesConfigDump", "dynamic_scoped_route_configs": [{"scoped_route_configs": [
			{"@type": "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration", "name": "one", "route_configuration_name": "r"}]}]}`, rds(routes("r", ", "+off))), []string{"failure open routes", "failure open routes"}},
		{"scopes, written out", dump(authz+router, `"scoped_routes": {"name": "s", "scoped_route_configurations_list": {"scoped_route_configurations": [{"name": "one", "route_configuration": `+
			strings.Replace(routes("r", ", "+off), `"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", `, "", 1)+`}]}}`), []string{"failure open routes", "failure open routes"}},
		{"ECDS", dump(byECDS+router, byName, rds(routes("r", "")), ecds(goodAuthz)), nil},
		{"ECDS, fails open", dump(byECDS+router, byName, rds(routes("r", "")), ecds(strings.Replace(goodAuthz, `"validate`, `"failure_mode_allow": true, "validate`, 1))), []string{"failure failure_mode_allow"}},
		{"ECDS, not in the dump", dump(byECDS+router, byName, rds(routes("r", ""))), []string{"warning ext_authz"}},
		{"a filter in a TypedStruct", dump(authzFilterNamed("a", `{"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
			"value": `+strings.Replace(strings.Replace(goodAuthz, `"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", `, "", 1), `"validate`, `"failure_mode_allow": true, "validate`, 1)+`}`)+router, byName, rds(routes("r", ""))), []string{"failure failure_mode_allow"}},
		{"an unknown filter around it", dump(authzFilterNamed("a", `{"@type": "type.googleapis.com/acme.Around", "inner": {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"}}`)+router, byName, rds(routes("r", ""))), []string{"warning ext_authz"}},
		{"an unknown filter behind it", dump(authz+authzFilterNamed("acme", `{"@type": "type.googleapis.com/acme.Filter", "x": 1}`)+router, byName, rds(routes("r", ""))), []string{"warning later filters"}},
		{"WebAssembly behind it", dump(authz+authzFilterNamed("wasm", `{"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": {"name": "x"}}`)+router, byName, rds(routes("r", ""))), []string{"warning later filters"}},
		{"WebAssembly before it", dump(authzFilterNamed("wasm", `{"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"}`)+authz+router, byName, rds(routes("r", ""))), nil},
		{"jwt_authn behind it that sets a header", dump(authz+authzFilterNamed("jwt", `{"@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", "providers": {"p": {"claim_to_headers": [{"header_name": "X-User-Id", "claim_name": "sub"}]}}}`)+router, byName, rds(routes("r", ""))), []string{"failure later filters"}},
		{"jwt_authn behind it that sets another", dump(authz+authzFilterNamed("jwt", `{"@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", "providers": {"p": {"claim_to_headers": [{"header_name": "x-tenant", "claim_name": "t"}]}}}`)+router, byName, rds(routes("r", ""))), nil},
		{"header_to_metadata that removes one", dump(authz+authzFilterNamed("h", `{"@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config", "request_rules": [{"header": "x-user-id", "on_header_present": {"key": "u"}, "remove": true}]}`)+router, byName, rds(routes("r", ""))), []string{"failure later filters"}},
		{"header_to_metadata that reads one", dump(authz+authzFilterNamed("h", `{"@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config", "request_rules": [{"header": "x-user-id", "on_header_present": {"key": "u"}}]}`)+router, byName, rds(routes("r", ""))), nil},
		{"Composite, whose action it is", dump(authzFilterNamed("c", `{"@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher", "extension_config": {"name": "c", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite"}},
			"xds_matcher": {"on_no_match": {"action": {"name": "a", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction", "typed_config": {"name": "x", "typed_config": `+goodAuthz+`}}}}}}`)+router, byName, rds(routes("r", ""))), []string{"warning ext_authz"}},
		{"h2c", dump(authz+router, `"upgrade_configs": [{"upgrade_type": "h2c"}], `+byName, rds(routes("r", ""))), []string{"failure tunnels"}},
		{"mirrored to where it is believed", dump(authz+router, byName, rds(strings.Replace(routes("r", ""), `"routes": [`,
			`"routes": [{"match": {"prefix": "/public"}, "route": {"cluster": "public", "request_mirror_policies": [{"cluster": "backend"}]}, `+off+`}, `, 1))), []string{"failure open routes", "warning open routes"}},
		{"a filter a policy, each on for its own route", dump(strings.ReplaceAll(authzFilterNamed("a", goodAuthz)+authzFilterNamed("b", goodAuthz), `{"name"`, `{"disabled": true, "name"`)+router, byName,
			rds(strings.Replace(routes("r", ", "+onFor("b")), `"routes": [`, `"routes": [{"match": {"prefix": "/a"}, "route": {"cluster": "backend"}, `+onFor("a")+`}, `, 1))), []string{"warning ext_authz", "warning ext_authz"}},
		{"a filter a policy, and none for a route", dump(strings.ReplaceAll(authzFilterNamed("a", goodAuthz)+authzFilterNamed("b", goodAuthz), `{"name"`, `{"disabled": true, "name"`)+router, byName,
			rds(strings.Replace(routes("r", ""), `"routes": [`, `"routes": [{"match": {"prefix": "/a"}, "route": {"cluster": "backend"}, `+onFor("a")+`}, `, 1))), []string{"warning ext_authz", "warning ext_authz", "failure open routes"}},
		{"VHDS", dump(authz+router, byName, rds(strings.Replace(routes("r", ""), `"name": "r"`, `"name": "r", "vhds": {"config_source": {"ads": {}}}`, 1))), []string{"warning routes"}},
		{"a field of a later release", dump(authzFilterNamed("envoy.filters.http.ext_authz", strings.Replace(goodAuthz, `"validate`, `"allow_on_mondays": true, "validate`, 1))+router, byName, rds(routes("r", ""))), []string{"warning not read"}},
		{"rules with an expression that Go cannot read", dump(authzFilterNamed("envoy.filters.http.ext_authz", strings.Replace(goodAuthz, `"validate`, `"decoder_header_mutation_rules": {"disallow_all": true, "allow_expression": {"regex": "x-(user"}}, "validate`, 1))+router, byName, rds(routes("r", ""))), []string{"failure decoder_header_mutation_rules"}},
		{"rules that know hyphens and underscores only", dump(authzFilterNamed("envoy.filters.http.ext_authz", strings.Replace(goodAuthz, `"validate`, `"decoder_header_mutation_rules": {"disallow_all": true, "allow_expression": {"regex": "x[-_](user|auth)[-_].*"}}, "validate`, 1))+router, byName, rds(routes("r", ""))), []string{"failure decoder_header_mutation_rules"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/behind/a/path/config_dump" {
					http.NotFound(w, r)
					return
				}
				fmt.Fprint(w, row.dump)
			}))
			defer server.Close()
			path := filepath.Join(t.TempDir(), "dump.json")
			if err := os.WriteFile(path, []byte(row.dump), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, where := range []string{path, server.URL + "/behind/a/path/", server.URL + "/behind/a/path/config_dump?include_eds"} {
				var got []string
				for _, f := range Diagnose(t.Context(), where, nil) {
					if f.Level != operator.LevelOK {
						got = append(got, string(f.Level)+" "+f.Tried)
					}
					if strings.Contains(f.Found+f.Fix+f.Tried, "secret-of-the-key") {
						t.Errorf("a secret is printed: %+v", f)
					}
				}
				if strings.Join(got, ", ") != strings.Join(row.want, ", ") {
					t.Errorf("%q, want %q", got, row.want)
					for _, f := range Diagnose(t.Context(), where, nil) {
						t.Logf("%+v", f)
					}
					return
				}
			}
		})
	}
}

// Whatever holds a configuration, and whatever does not.
func TestDoctorReadsFilesOfAllKinds(t *testing.T) {
	sample, err := os.ReadFile("../../../../../envoy/http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	indented := "    " + strings.ReplaceAll(string(sample), "\n", "\n    ")
	for _, row := range []struct {
		title, content string
		want           string // of the first that is not well
	}{
		{"a bootstrap file", string(sample), ""},
		{"several documents", "a: 1\n---\n" + string(sample) + "\n---\n", ""},
		{"a ConfigMap", "apiVersion: v1\nkind: ConfigMap\ndata:\n  envoy.yaml: |\n" + indented, ""},
		{"listeners from elsewhere, too", "dynamic_resources: { lds_config: { path_config_source: { path: /lds.yaml } } }\n" + string(sample), "warning not read"},
		{"numbers for names", "1: 2\n" + string(sample), ""},
		{"a template", "{{ .Values.envoy }}\n", "failure read"},
		{"nothing", "", "failure filter"},
		{"a text", "hello", "failure filter"},
		{"a listener without type that is no listener", "filter_chains: 7\n", "failure Listener"},
		{"a list of resources", "resources: [{ \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, virtual_hosts: 7 }]\n", "failure RouteConfiguration"},
	} {
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range Diagnose(t.Context(), path, nil) {
			if f.Level != operator.LevelOK {
				got = string(f.Level) + " " + f.Tried
				break
			}
		}
		if got != row.want && !(row.want == "failure read" && strings.HasPrefix(got, row.want)) {
			t.Errorf("%s: %q, want %q", row.title, got, row.want)
		}
	}
}

// All samples, and what is made of them for Kubernetes, are well. The demo's front end is open on purpose, and said
// to be.
func TestDoctorFindsNothingInTheSamples(t *testing.T) {
	for path, want := range map[string]string{
		"envoy/http.yaml": "", "envoy/mtls.yaml": "", "envoy/public-routes.yaml": "", "envoy/tracing.yaml": "", "envoy/unix-socket.yaml": "",
		"k8s/sidecar/envoy.yaml": "", "k8s/standalone/envoy.yaml": "", "envoy/demo/envoy.yaml": "warning open routes",
	} {
		var got []string
		for _, f := range Diagnose(t.Context(), filepath.Join("../../../../..", path), nil) {
			if f.Level != operator.LevelOK {
				got = append(got, string(f.Level)+" "+f.Tried)
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// Internal listeners have no socket's address: two of them are not one backend, and the same one twice is.
func TestDoctorTellsInternalListenersApart(t *testing.T) {
	sample, err := os.ReadFile("../../../../../envoy/http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	internal := func(cluster, listener string) string {
		return "  - { name: " + cluster + ", load_assignment: { cluster_name: c, endpoints: [{ lb_endpoints: [{ endpoint: { address: " +
			"{ envoy_internal_address: { server_listener_name: " + listener + " } } } }] }] } }\n"
	}
	for other, want := range map[string]string{"inner": "failure bypass", "another": ""} {
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		content := strings.Replace(string(sample), "cluster: backend", "cluster: one", 1) + `
---
clusters:
` + internal("one", "inner") + internal("two", other) + `
---
listeners:
  - { name: open, filter_chains: [{ filters: [{ name: tcp, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: two } }] }] }
`
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range Diagnose(t.Context(), path, nil) {
			if f.Level != operator.LevelOK {
				got = append(got, string(f.Level)+" "+f.Tried)
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("two clusters, to inner and to %s: %q, want %q", other, got, want)
		}
	}
}
