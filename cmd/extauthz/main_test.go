package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/listen"
	"extauthz/cmd/extauthz/internal/reload"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/extauthz"
)

func TestMain(m *testing.M) {
	// Tests that run side by side wait for other programs or for a deadline, and compute little. A flag goes before this.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // for commands that are started with the test's environment
	}
	testscript.Main(m, map[string]func(){"extauthz": main})
}

// endAtOnce is the environment of commands that are started: the race detector would have each sleep for a second at
// its end.
const endAtOnce = "GORACE=atexit_sleep_ms=0"

const (
	issuer   = "http://app.example.com"
	audience = "http://api.example.com"
)

// The command as people use it: every script in testdata/ is a session at the shell.
func TestScripts(t *testing.T) {
	jwks, issue := newIssuer(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			now := time.Now().Unix()
			claims := func(changes map[string]any) string {
				claims := map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "iat": now, "exp": now + 900}
				for name, value := range changes {
					claims[name] = value
				}
				return issue(claims)
			}
			env.Vars = append(env.Vars, endAtOnce)
			env.Setenv("BETTER_AUTH_URL", issuer)
			env.Setenv("API_AUDIENCE", audience)
			env.Setenv("JWKS_URL", jwks.URL)
			env.Setenv("GOOD", claims(nil))
			env.Setenv("EXPIRED", claims(map[string]any{"exp": now - 3600}))
			env.Setenv("WRONG_AUDIENCE", claims(map[string]any{"aud": "http://wrong.example.com", "iss": issuer}))
			env.Setenv("OTHER_ISSUER", claims(map[string]any{"iss": "our app, no URL"}))
			env.Setenv("OAUTH", claims(map[string]any{"iss": issuer + "/api/auth", "azp": "client", "client_id": "client", "scope": "openid"}))
			good := claims(nil)
			env.Setenv("FORGED", good[:strings.LastIndex(good, ".")+1]+strings.Repeat("A", 86))
			env.Setenv("CLOSED_PORT", commandtest.ClosedPort(t))
			return os.WriteFile(filepath.Join(env.WorkDir, "token"), []byte(good+"\n"), 0o600)
		},
	})
}

// The exit status is the verdict: 0 allow, 1 deny, 2 could not be checked.
func TestExitStatus(t *testing.T) {
	jwks, issue := newIssuer(t)
	t.Setenv("BETTER_AUTH_URL", issuer)
	t.Setenv("API_AUDIENCE", audience)
	t.Setenv("JWKS_URL", jwks.URL)
	good := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 60})
	for _, row := range []struct {
		args []string
		want int
	}{
		{[]string{"check", good}, exitOK},
		{[]string{"check", good + "A"}, exitDeny},
		{[]string{"check", "--cookie", "raw"}, exitDeny},
		{[]string{"check", "--jwks-url", "http://127.0.0.1:" + commandtest.ClosedPort(t), good}, exitFault},
		{[]string{"check"}, exitFault},
		{[]string{"check", "--api-audience", " ", good}, exitFault},
		{[]string{"serve", "--listen", "x"}, exitFault},
		{[]string{"version"}, exitOK},
		{nil, exitFault},
	} {
		if got := run(t.Context(), row.args, strings.NewReader(""), io.Discard, io.Discard); got != row.want {
			t.Errorf("%q: exit status %d, want %d", row.args, got, row.want)
		}
	}
}

// newIssuer is a JWKS endpoint and a function that signs claims by its key.
func newIssuer(t *testing.T) (*httptest.Server, func(claims map[string]any) string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	document := fmt.Sprintf(`{"keys":[{"kid":"k1","kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":%q}]}`, encode(public))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, document) }))
	t.Cleanup(server.Close)
	return server, func(claims map[string]any) string {
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		signed := encode([]byte(`{"alg":"EdDSA","kid":"k1"}`)) + "." + encode(payload)
		return signed + "." + encode(ed25519.Sign(private, []byte(signed)))
	}
}

// checkOf is a check of a Bearer token as Envoy sends it.
func checkOf(token string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Headers: map[string]string{"authorization": "Bearer " + token}}}}}
}

// startServe runs serve in this process until the test ends, and returns how to reach it.
func startServe(t *testing.T, settings map[string]string) (checks *grpc.ClientConn, admin string, stop func() int) {
	t.Helper()
	admin = "127.0.0.1:" + commandtest.ClosedPort(t)
	t.Setenv("EXTAUTHZ_ADMIN_LISTEN", admin)
	if settings["EXTAUTHZ_LISTEN"] == "" {
		settings["EXTAUTHZ_LISTEN"] = "127.0.0.1:" + commandtest.ClosedPort(t)
	}
	for name, value := range settings {
		t.Setenv(name, value)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"serve"}, strings.NewReader(""), t.Output(), t.Output()) }()
	ended := false
	code := 0
	stop = func() int {
		cancel()
		if !ended {
			code, ended = <-done, true
		}
		return code
	}
	t.Cleanup(func() { stop() })
	target := settings["EXTAUTHZ_LISTEN"]
	checks, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checks.Close() })
	commandtest.Eventually(t, "healthz", func() bool { return get(admin+"/healthz") == 200 })
	return checks, admin, stop
}

func get(url string) int {
	response, err := http.Get("http://" + url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// decided checks until there is a verdict: a 503, which a busy machine may bring about, is nobody's, and is printed.
func decided(t *testing.T, connection *grpc.ClientConn, token string) (*authv3.CheckResponse, error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := authv3.NewAuthorizationClient(connection).Check(t.Context(), checkOf(token))
		if response.GetDeniedResponse().GetStatus().GetCode() != typev3.StatusCode_ServiceUnavailable || time.Now().After(deadline) {
			return response, err
		}
		t.Logf("503, asked again: %v", response)
	}
}

func healthOf(t *testing.T, connection *grpc.ClientConn, service string) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	response, err := healthpb.NewHealthClient(connection).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return response.Status
}

// It starts while its JWKS is down, says so on every channel, and becomes ready by itself.
func TestServeBecomesReady(t *testing.T) {
	jwks, issue := newIssuer(t)
	port := commandtest.ClosedPort(t)
	checks, admin, stop := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": "http://127.0.0.1:" + port})
	if status := get(admin + "/readyz"); status != 503 {
		t.Errorf("/readyz gives %d before the JWKS is there", status)
	}
	const service = "envoy.service.auth.v3.Authorization"
	if status := healthOf(t, checks, service); status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %s before the JWKS is there", status)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	late := &http.Server{Handler: jwks.Config.Handler}
	go late.Serve(listener)
	defer late.Close()
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	for _, name := range []string{"", service} {
		commandtest.Eventually(t, "health of "+name, func() bool { return healthOf(t, checks, name) == healthpb.HealthCheckResponse_SERVING })
	}
	now := time.Now().Unix()
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": now + 60})
	response, err := decided(t, checks, token)
	if err != nil || response.GetOkResponse() == nil {
		t.Errorf("%v %v, want an allow", response, err)
	}
	if status := get(admin + "/metrics"); status != 200 {
		t.Errorf("/metrics gives %d", status)
	}
	stream, err := reflectionpb.NewServerReflectionClient(checks).ServerReflectionInfo(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	if err == nil || !strings.Contains(err.Error(), "Unimplemented") {
		t.Errorf("reflection gives %v, want it off", err)
	}
	if code := stop(); code != exitOK {
		t.Errorf("exit status %d after it was told to stop", code)
	}
}

// When one of its servers fails, it ends with the fault, and does not hang half alive.
func TestServeEndsWhenAServerFails(t *testing.T) {
	jwks, _ := newIssuer(t)
	for _, failing := range []string{"gRPC server", "admin server"} {
		authorizer, err := extauthz.New(extauthz.Config{Issuer: issuer, Audiences: []string{audience}, JWKSURL: jwks.URL, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		listener := func(name string) net.Listener {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if name == failing {
				l.Close()
			}
			return l
		}
		s := &server.Server{Log: slog.New(slog.DiscardHandler), Authorizer: authorizer, Registry: prometheus.NewRegistry(),
			Checks: []net.Listener{listener("gRPC server"), listener("another")}, Admins: []net.Listener{listener("admin server")},
			Reloader: reload.New(&settings.Settings{}, func() (*settings.Settings, error) { return &settings.Settings{}, nil }, new(slog.LevelVar), slog.New(slog.DiscardHandler))}
		ended := make(chan error)
		go func() { ended <- s.Run(t.Context(), &settings.Settings{}) }()
		select {
		case err := <-ended:
			if err == nil || !strings.HasPrefix(err.Error(), failing) {
				t.Errorf("%v, want the fault of the %s", err, failing)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("it hangs after the %s has failed", failing)
		}
	}
}

// A Unix socket serves; one that a crashed server left behind is replaced, one in use is not.
func TestServeOnUnixSocket(t *testing.T) {
	jwks, _ := newIssuer(t)
	folder, err := os.MkdirTemp("", "extauthz-") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	path := folder + "/extauthz.sock"
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	checks, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL, "EXTAUTHZ_LISTEN": "unix://" + path})
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	commandtest.Eventually(t, "health", func() bool { return healthOf(t, checks, "") == healthpb.HealthCheckResponse_SERVING })
	if _, err := (listen.Address{Network: "unix", Name: path}).Listen(); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a second listener: %v", err)
	}
}

// Reflection is there when it is asked for.
func TestReflection(t *testing.T) {
	jwks, _ := newIssuer(t)
	checks, _, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL, "EXTAUTHZ_REFLECTION": "true"})
	stream, err := reflectionpb.NewServerReflectionClient(checks).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil || !strings.Contains(answer.String(), "envoy.service.auth.v3.Authorization") {
		t.Errorf("%v %v", answer, err)
	}
}

// A secret that is too short for HS256 is told at the start, and not shown.
func TestShortSecretIsTold(t *testing.T) {
	for secret, told := range map[string]bool{"a-short-one": true, "a-secret-of-more-than-32-characters!": false} {
		var stderr bytes.Buffer
		t.Setenv("BETTER_AUTH_SECRET", secret)
		ended, end := context.WithCancel(t.Context())
		end()
		status := run(ended, []string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--better-auth-url", "http://127.0.0.1:" + commandtest.ClosedPort(t)}, nil, io.Discard, &stderr)
		if isTold := strings.Contains(stderr.String(), "shorter than the 32 bytes"); status != exitOK || isTold != told || strings.Contains(stderr.String(), secret) {
			t.Errorf("status %d, told %t, want %t; %s", status, isTold, told, stderr.String())
		}
	}
}
