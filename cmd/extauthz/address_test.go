package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/listen"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/envoy/parts"
)

// abstractName is free in this network namespace.
func abstractName(t *testing.T, length int) string {
	t.Helper()
	name := fmt.Sprintf("@extauthz-test-%d-%d-", os.Getpid(), time.Now().UnixNano())
	return name + strings.Repeat("x", max(length-len(name), 0))
}

// An abstract socket serves Envoy and an ordinary gRPC client, leaves no file, and is told when it is taken; the
// longest name that is allowed works as well.
func TestServeOnAbstractSocket(t *testing.T) {
	jwks, issue := newIssuer(t)
	installer, err := parts.NewInstaller(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	for title, name := range map[string]string{"short": abstractName(t, 0), "longest": abstractName(t, listen.MaxSocketName)} {
		t.Run(title, func(t *testing.T) {
			_, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL, "EXTAUTHZ_LISTEN": "unix://" + name})
			commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
			for _, file := range []string{name, "/" + name} {
				if _, err := os.Lstat(file); err == nil {
					t.Errorf("it made the file %s", file)
				}
			}
			client, err := grpc.NewClient("unix-abstract:"+name[1:], grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			commandtest.Eventually(t, "health", func() bool { return healthOf(t, client, "") == healthpb.HealthCheckResponse_SERVING })
			if _, err := (listen.Address{Network: "unix", Name: name}).Listen(); err == nil || !strings.Contains(err.Error(), "choose a name that no process") {
				t.Errorf("a second listener: %v", err)
			}

			listener := "127.0.0.1:" + commandtest.ClosedPort(t)
			_, port, err := net.SplitHostPort(listener)
			if err != nil {
				t.Fatal(err)
			}
			folder := t.TempDir()
			config := filepath.Join(folder, "envoy.json")
			if err := os.WriteFile(config, fmt.Appendf(nil, abstractEnvoy, port, name), 0o600); err != nil {
				t.Fatal(err)
			}
			envoy, err := installer.StartEnvoy(t.Context(), folder, parts.EnvoyNewest, config, listener)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { envoy.Stop() })
			ask := func(token string) int {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Authorization", "Bearer "+token)
				status := 0
				commandtest.Eventually(t, "an answer", func() bool {
					response, err := http.DefaultClient.Do(request)
					if err != nil {
						return false
					}
					response.Body.Close()
					if status = response.StatusCode; status == 503 {
						t.Log("503:", envoy.LogEnd())
					}
					return status != 503
				})
				return status
			}
			if status := ask(token); status != 200 {
				t.Errorf("a good token through Envoy: %d", status)
			}
			if status := ask(token + "x"); status != 401 {
				t.Errorf("a bad token through Envoy: %d", status)
			}
		})
	}
}

// abstractEnvoy is Envoy's side: a pipe whose path begins with @ is an abstract socket.
const abstractEnvoy = `{"static_resources": {
  "listeners": [{"name": "http", "address": {"socket_address": {"address": "127.0.0.1", "port_value": %s}}, "filter_chains": [{"filters": [{
    "name": "hcm", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
      "stat_prefix": "http",
      "http_filters": [
        {"name": "ext_authz", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "transport_api_version": "V3",
          "status_on_error": {"code": 503}, "grpc_service": {"envoy_grpc": {"cluster_name": "extauthz"}, "timeout": "5s"}}},
        {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
      "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]}}}]}]}],
  "clusters": [{"name": "extauthz", "type": "STATIC", "connect_timeout": "5s",
    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}},
    "load_assignment": {"cluster_name": "extauthz", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "%s"}}}}]}]}}]}}`

// With TLS an abstract socket wants it as TCP does, since no file's rights guard it.
func TestAbstractSocketWantsTLS(t *testing.T) {
	jwks, _ := newIssuer(t)
	folder := t.TempDir()
	writeServerFiles(t, folder, "1", newAuthority(t))
	name := abstractName(t, 0)
	_, admin, _ := startServe(t, tlsSettings(folder, jwks.URL, "unix://"+name))
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	client, err := grpc.NewClient("unix-abstract:"+name[1:], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if answer, err := healthpb.NewHealthClient(client).Check(t.Context(), &healthpb.HealthCheckRequest{}); err == nil {
		t.Errorf("without TLS: %v", answer)
	}
}

// Who starts the server without a word about addresses serves no other machine: checks come in plain text by default, and
// whoever reaches them can try tokens.
func TestDefaultListenersAreLoopback(t *testing.T) {
	found := 0
	for _, setting := range settings.Table {
		if !strings.HasSuffix(setting.Variable, "LISTEN") {
			continue
		}
		found++
		host, _, err := net.SplitHostPort(setting.Fallback)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			t.Errorf("%s is %q by default, which other machines reach", setting.Variable, setting.Fallback)
		}
	}
	if found != 2 {
		t.Errorf("%d settings of listeners, want those of checks and of the admin interface", found)
	}
}
