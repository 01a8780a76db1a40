package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/cmd/extauthz/internal/commandtest"
)

// process is the command as a process of its own.
type process struct {
	*exec.Cmd
	checks authv3.AuthorizationClient

	connection *grpc.ClientConn
	admin      string
	ended      chan error // what Wait returned
}

// commandOf is the test's binary under the name by which it is the command.
func commandOf(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "extauthz")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	return exec.Command(program, args...)
}

// startProcess starts serve with these settings and this standard error, and waits until it answers.
func startProcess(t *testing.T, stderr *os.File, settings ...string) *process {
	t.Helper()
	checks := "127.0.0.1:" + commandtest.ClosedPort(t)
	p := &process{Cmd: commandOf(t, "serve"), admin: "127.0.0.1:" + commandtest.ClosedPort(t), ended: make(chan error, 1)}
	p.Env = append([]string{"EXTAUTHZ_LISTEN=" + checks, "EXTAUTHZ_ADMIN_LISTEN=" + p.admin, "BETTER_AUTH_URL=" + issuer, "API_AUDIENCE=" + audience, endAtOnce}, settings...)
	if p.Stdout == nil && stderr != nil {
		p.Stdout, p.Stderr = stderr, stderr
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() { p.Process.Kill() })
	connection, err := grpc.NewClient(checks, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	p.connection = connection
	p.checks = authv3.NewAuthorizationClient(connection)
	commandtest.Eventually(t, "readiness", func() bool { return get(p.admin+"/readyz") == 200 })
	return p
}

// status is the answer's HTTP status to a check of that token, and how long it took.
func (p *process) status(t *testing.T, token string) (int, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	response, err := p.checks.Check(ctx, checkOf(token))
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if response.GetOkResponse() != nil {
		return 200, time.Since(began)
	}
	return int(response.GetDeniedResponse().GetStatus().GetCode()), time.Since(began)
}

// stop sends SIGTERM and waits for the end.
func (p *process) stop(t *testing.T) (took time.Duration, err error) {
	t.Helper()
	began := time.Now()
	p.Process.Signal(syscall.SIGTERM)
	select {
	case err = <-p.ended:
	case <-time.After(40 * time.Second):
		t.Fatal("the process outlives SIGTERM by 40 s")
	}
	return time.Since(began), err
}

// unread returns the writing end of a pipe that nobody reads and that is full already.
func unread(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); writer.Close() })
	writer.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for _, err = range []error{nil} {
		for err == nil {
			_, err = writer.Write([]byte(strings.Repeat("x", 4095) + "\n"))
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return reader, writer
}

// switchable is a JWKS endpoint whose answer can be changed.
func switchable(t *testing.T, from *httptest.Server) (server *httptest.Server, withdraw func()) {
	t.Helper()
	var withdrawn atomic.Bool
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if withdrawn.Load() {
			fmt.Fprint(w, `{"keys":[]}`)
			return
		}
		from.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server, func() { withdrawn.Store(true) }
}

// A log that nobody reads, and an audit log on the same pipe, hold up no check, no change of keys and no end.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	good, _ := newIssuer(t)
	for name, settings := range map[string][]string{
		"log":           nil,
		"log at debug":  {"EXTAUTHZ_LOG_LEVEL=debug", "EXTAUTHZ_LOG_FORMAT=text"},
		"log and audit": {"EXTAUTHZ_AUDIT_LOG=stdout"},
	} {
		t.Run(name, func(t *testing.T) {
			jwks, issue := newIssuer(t)
			keys, withdraw := switchable(t, jwks)
			_, writer := unread(t)
			p := startProcess(t, writer, append(settings, "JWKS_URL="+keys.URL, "OTEL_EXPORTER_OTLP_ENDPOINT="+good.URL)...)
			claims := map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600}
			token, refused := issue(claims), issue(map[string]any{"iss": issuer, "aud": "another", "sub": "user-1", "exp": time.Now().Unix() + 600})
			if status, _ := p.status(t, token); status != 200 {
				t.Fatalf("a good token: %d", status)
			}
			var flood sync.WaitGroup
			for range 16 {
				flood.Go(func() {
					for range 6000 / 16 {
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						if _, err := p.checks.Check(ctx, checkOf(refused)); err != nil {
							t.Error("a refusal has no answer:", err)
							cancel()
							return
						}
						cancel()
					}
				})
			}
			flood.Wait()
			if t.Failed() {
				t.FailNow()
			}
			status, took := p.status(t, token)
			t.Logf("a good JWT after 6,000 refusals: %d in %s", status, took)
			if status != 200 || took > 5*time.Second {
				t.Errorf("a good JWT: %d in %s", status, took)
			}
			status, took = p.status(t, refused)
			t.Logf("a refusal: %d in %s", status, took)
			if status != 401 || took > 5*time.Second {
				t.Errorf("a refusal: %d in %s", status, took)
			}
			withdraw()
			p.Process.Signal(syscall.SIGHUP)
			commandtest.Eventually(t, "the withdrawn key's token to be refused", func() bool {
				status, _ := p.status(t, token)
				return status == 401
			})
			took, err := p.stop(t)
			t.Logf("SIGTERM: %v after %s", err, took)
			if err != nil || took > 12*time.Second {
				t.Errorf("SIGTERM: %v after %s, want exit status 0 within 12 s", err, took)
			}
		})
	}
}

// What cannot be started says so and ends, also where nobody reads it.
func TestFaultThatNobodyReads(t *testing.T) {
	_, writer := unread(t)
	command := commandOf(t, "serve", "--listen", "nowhere")
	command.Stderr = writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-ended:
		if code := command.ProcessState.ExitCode(); code != exitFault {
			t.Errorf("exit status %d, want %d", code, exitFault)
		}
	case <-time.After(20 * time.Second):
		command.Process.Kill()
		t.Error("it hangs")
	}
}

// A reader that goes away does not take the process with it, and a new audit line is not its end either.
func TestReaderThatGoesAway(t *testing.T) {
	t.Parallel()
	jwks, issue := newIssuer(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	go io.Copy(io.Discard, reader)
	p := startProcess(t, writer, "JWKS_URL="+jwks.URL, "EXTAUTHZ_AUDIT_LOG=stdout")
	writer.Close()
	reader.Close()
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	for range 20 {
		for token, want := range map[string]int{token: 200, token + "A": 401} {
			if status, _ := p.status(t, token); status != want {
				t.Fatalf("%d, want %d", status, want)
			}
		}
		time.Sleep(100 * time.Millisecond) // past the audit log's second
	}
	if took, err := p.stop(t); err != nil || took > 12*time.Second {
		t.Errorf("SIGTERM: %v after %s", err, took)
	}
}

// Checks that are in flight and never end do not keep the process, where nobody reads its log and its audit log either.
func TestEndWithChecksInFlight(t *testing.T) {
	t.Parallel()
	jwks, _ := newIssuer(t)
	_, writer := unread(t)
	p := startProcess(t, writer, "JWKS_URL="+jwks.URL, "EXTAUTHZ_AUDIT_LOG=stdout")
	for range 3 { // calls that never send their message
		_, err := p.connection.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, authv3.Authorization_Check_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
	}
	if status, _ := p.status(t, "a.b.c"); status != 401 { // so the server has the calls, too
		t.Errorf("%d", status)
	}
	took, err := p.stop(t)
	t.Logf("SIGTERM: %v after %s", err, took)
	if err != nil || took > 12*time.Second {
		t.Errorf("SIGTERM: %v after %s, want exit status 0 within 12 s", err, took)
	}
}
