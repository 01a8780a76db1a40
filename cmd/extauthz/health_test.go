package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/commandtest"
)

// The exit status tells whether a running server is ready, is not, or cannot be asked.
func TestHealth(t *testing.T) {
	jwks, _ := newIssuer(t)
	port := commandtest.ClosedPort(t)
	p := startUnready(t, "BETTER_AUTH_URL="+issuer, "JWKS_URL=http://127.0.0.1:"+port)
	ask := func(want int, words string, environment []string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		command := p.command(t, append([]string{"health", "--timeout", "20s"}, args...)...)
		command.Env, command.Stdout, command.Stderr = environment, &out, &out
		if err := command.Run(); command.ProcessState.ExitCode() != want || !strings.Contains(out.String(), words) {
			t.Errorf("%q %q: exit status %d (%v), %q; want %d, %q", environment, args, command.ProcessState.ExitCode(), err, out.String(), want, words)
		}
	}
	byEnvironment := []string{"EXTAUTHZ_ADMIN_LISTEN=" + p.admin, endAtOnce}
	ask(exitDeny, "not ready: waiting for jwks", byEnvironment)

	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	late := &http.Server{Handler: jwks.Config.Handler}
	go late.Serve(listener)
	defer late.Close()
	commandtest.Eventually(t, "readiness", func() bool { return get(p.admin+"/readyz") == 200 })
	ask(exitOK, "ready", byEnvironment)

	// Where it asks is all that counts of the settings.
	_, adminPort, err := net.SplitHostPort(p.admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, wildcard := range []string{":", "0.0.0.0:", "[::]:", "localhost:"} {
		ask(exitOK, "ready", []string{"EXTAUTHZ_ADMIN_LISTEN=" + wildcard + adminPort})
	}
	ask(exitOK, "ready", []string{"EXTAUTHZ_ADMIN_LISTEN=127.0.0.1:1"}, "--admin-listen", p.admin)
	ask(exitOK, "ready", append(byEnvironment, "BETTER_AUTH_SECRET_FILE=/no/such/file", "DATABASE_URL_FILE=/no/such/file", "EXTAUTHZ_SHADOW=nonsense", "API_AUDIENCE=,", "EXTAUTHZ_CONFIG=/no/such/file"))
	ask(exitOK, "ready", append(byEnvironment, "http_proxy=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1", "ALL_PROXY=http://127.0.0.1:1"))
	f := commandtest.Folder{T: t, Path: t.TempDir()}
	ask(exitOK, "ready", []string{"EXTAUTHZ_CONFIG=" + f.Write("good.yaml", "admin-listen: "+p.admin+"\nbetter-auth-secret-file: /no/such/file\n")})
	ask(exitOK, "ready", nil, "--config", f.Write("faulty.yaml", "shadow: [off, report]\nadmin-listen: "+p.admin+"\nunknown: x\n"))

	for _, row := range []struct {
		words       string
		environment []string
		args        []string
	}{
		{"cannot be reached", []string{"EXTAUTHZ_ADMIN_LISTEN=127.0.0.1:" + commandtest.ClosedPort(t)}, nil},
		{"EXTAUTHZ_ADMIN_LISTEN is \"systemd:admin\", a socket that systemd opened", []string{"EXTAUTHZ_ADMIN_LISTEN=systemd:admin"}, nil},
		{"leaves the port to the system", []string{"EXTAUTHZ_ADMIN_LISTEN=127.0.0.1:0"}, nil},
		{"write host:port", []string{"EXTAUTHZ_ADMIN_LISTEN=nonsense"}, nil},
		{"--admin-listen is", nil, []string{"--admin-listen", "unix:///run/admin.sock"}},
		{"admin-listen is not a single value", nil, []string{"--config", f.Write("list.yaml", "admin-listen: ['"+p.admin+"']\n")}},
		{"admin-listen is already in line 1", nil, []string{"--config", f.Write("twice.yaml", "admin-listen: "+p.admin+"\nadmin-listen: "+p.admin+"\n")}},
		{"is not YAML", nil, []string{"--config", f.Write("broken.yaml", "admin-listen: [")}},
		{"cannot be read", nil, []string{"--config", f.Path + "/missing"}},
		{"health takes flags only", byEnvironment, []string{"now"}},
		{"flag provided but not defined", byEnvironment, []string{"--no-such-flag"}},
		{"--timeout is 0s", byEnvironment, []string{"--timeout", "0s"}},
		{"--timeout is 2m0s", byEnvironment, []string{"--timeout", "2m"}},
	} {
		ask(exitFault, row.words, row.environment, row.args...)
	}
}

// What is no admin listener of ours is not taken for one, and what never answers costs no more than the timeout.
func TestHealthOfStrangers(t *testing.T) {
	for title, handler := range map[string]http.HandlerFunc{
		"another server":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>welcome</html>") },
		"no such page":    func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"its own failure": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oh no", http.StatusServiceUnavailable) },
		"a redirect":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ready", http.StatusFound) },
		"an endless answer": func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 10 {
				if _, err := fmt.Fprintln(w, strings.Repeat("ready ", 1<<10)); err != nil {
					return
				}
			}
		},
	} {
		server := httptest.NewServer(handler)
		var stderr bytes.Buffer
		if status := run(t.Context(), []string{"health", "--timeout", "20s", "--admin-listen", server.Listener.Addr().String()}, nil, io.Discard, &stderr); status != exitFault || !strings.Contains(stderr.String(), "which is not extauthz's admin listener") {
			t.Errorf("%s: exit status %d, %s", title, status, stderr.String())
		}
		server.Close()
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	if status := run(ctx, []string{"health", "--timeout", "100ms", "--admin-listen", silent.Addr().String()}, nil, io.Discard, &stderr); status != exitFault || ctx.Err() != nil || !strings.Contains(stderr.String(), "did not answer in time") {
		t.Errorf("exit status %d, %v, %s", status, ctx.Err(), stderr.String())
	}
}
