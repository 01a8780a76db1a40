package envoy

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"extauthz/envoy/parts"
)

// overreaching allows everything, and changes more of the request than extauthz does.
type overreaching struct {
	authv3.UnimplementedAuthorizationServer
}

func (overreaching) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
	}
	return &authv3.CheckResponse{Status: &statuspb.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{set("x-user-id", "user-1"), set("x-auth-method", "jwks"),
			set("x-forwarded-for", "203.0.113.1"), set("x-tenant", "other")},
		HeadersToRemove: []string{"x-user-role", "x_user_id", "x-auth_method", "x.user.id", "cookie", "x-tenant-id"},
	}}}, nil
}

// The samples' rules let what answers the check set and remove the identity headers, however they are spelt, and
// nothing else.
func TestMutationRulesOfTheSamples(t *testing.T) {
	s := startStack(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, overreaching{})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	sample, err := os.ReadFile("http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const rule = "disallow_all: true\n"
	for _, version := range envoyVersions {
		for _, row := range []struct {
			title, rules string
			status       int
		}{
			{"as they are", rule, 200},
			// It would turn what is dropped into an error, for every request; extauthz changes nothing else, so the samples
			// leave it out.
			{"with disallow_is_error", rule + "                        disallow_is_error: true\n", 500},
		} {
			t.Run(version+"/"+row.title, func(t *testing.T) {
				var ports [2]int
				for i := range ports {
					if ports[i], err = parts.FreePort(); err != nil {
						t.Fatal(err)
					}
				}
				folder := t.TempDir()
				config := filepath.Join(folder, "envoy.yaml")
				changed := strings.NewReplacer(
					"port_value: 8080 ", "port_value: "+itoa(ports[0])+" ", "port_value: 9901 ", "port_value: "+itoa(ports[1])+" ",
					"port_value: 9191 ", "port_value: "+itoa(listener.Addr().(*net.TCPAddr).Port)+" ",
					parts.BackendSocket, s.backend,
					"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW", rule, row.rules,
					"grpc_health_check: { service_name: envoy.service.auth.v3.Authorization }", "tcp_health_check: {}",
				).Replace(string(sample))
				if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				address := "127.0.0.1:" + itoa(ports[0])
				envoy, err := s.installer.StartEnvoy(ctx, folder, version, config, address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { envoy.Stop() })
				var a answer
				eventually(t, "an answer", func() bool {
					a = send(t, "GET", "http://"+address+"/api/headers", map[string]string{"X-User-Id": "admin",
						"X-User-Role": "admin", "x_user_id": "admin", "X-Auth_Method": "admin", "X.User.Id": "admin",
						"Cookie": "theme=dark", "X-Tenant": "mine", "X-Tenant-Id": "7"}, "")
					return a.status != 503
				})
				if a.status != row.status {
					t.Fatalf("%d %s, want %d", a.status, a.body, row.status)
				}
				if row.status != 200 {
					return
				}
				got := received(t, a)
				for name, want := range map[string]string{"x-user-id": "user-1", "x-auth-method": "jwks", "x-user-role": "",
					"x_user_id": "", "x-auth_method": "", "x.user.id": "",
					"cookie": "theme=dark", "x-tenant": "mine", "x-tenant-id": "7"} {
					if got[name] != want {
						t.Errorf("the backend got %s: %q, want %q", name, got[name], want)
					}
				}
				if strings.Contains(got["x-forwarded-for"], "203.0.113.1") {
					t.Errorf("the backend got x-forwarded-for: %s", got["x-forwarded-for"])
				}
			})
		}
	}
}
