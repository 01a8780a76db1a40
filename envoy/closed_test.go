package envoy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"extauthz/envoy/parts"
)

// nobody is a user and a group of this machine that own nothing.
const nobody = 65534

// fencedBlock is the block of a page that holds this text.
func fencedBlock(t *testing.T, page, holds string) string {
	t.Helper()
	for _, b := range blocksOf(t, page, readPage(t, page)) {
		if strings.Contains(b.text, holds) {
			return b.text
		}
	}
	t.Fatalf("%s has no block with %q", page, holds)
	return ""
}

// shell runs a page's commands in a folder, and fails when one of them does.
func shell(t *testing.T, folder, commands string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-euc", commands)
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", commands, err, output)
	}
}

// uvicornArguments are what a page's command line has after main:app, in the words of this machine.
func uvicornArguments(t *testing.T, page, holds string, words ...string) []string {
	t.Helper()
	for line := range strings.Lines(fencedBlock(t, page, holds)) {
		if _, arguments, found := strings.Cut(line, "uvicorn main:app "); found {
			return strings.Fields(strings.NewReplacer(words...).Replace(arguments))
		}
	}
	t.Fatalf("%s does not start uvicorn", page)
	return nil
}

// writeBackendCertificates makes them by the page's own commands.
func writeBackendCertificates(t *testing.T, folder string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	shell(t, folder, fencedBlock(t, "docs/backend.md", "openssl req"))
}

// writeApp puts the program of the page for newcomers into a folder, which believes every header, and what is added to it.
func writeApp(t *testing.T, folder string, more ...string) {
	t.Helper()
	program := fencedBlock(t, "docs/better-auth.md", "app = FastAPI()") + strings.Join(more, "")
	if err := os.WriteFile(filepath.Join(folder, "main.py"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startEncryptedBackend starts the backend of mtls.yaml by the page's own command. It also tells what it got, as the demo's
// does.
func (m *mesh) startEncryptedBackend(t *testing.T, certificates string) {
	t.Helper()
	writeBackendCertificates(t, certificates)
	writeApp(t, certificates, `
from fastapi import Request


@app.get("/api/headers")
def headers(request: Request):
    return request.headers.items()
`)
	var err error
	if m.backendPort, err = parts.FreePort(); err != nil {
		t.Fatal(err)
	}
	m.encrypted = m.startApp(t, certificates, uvicornArguments(t, "docs/backend.md", "--ssl-cert-reqs",
		"0.0.0.0", "127.0.0.1", "8000", itoa(m.backendPort))...)
	m.awaitTCP(t, m.backendPort)
}

// startApp runs main:app of a folder.
func (s *stack) startApp(t *testing.T, folder string, arguments ...string) *parts.Process {
	t.Helper()
	process, err := s.installer.StartPython(folder, "app", folder, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Stop()
		if t.Failed() {
			t.Log(process.LogEnd())
		}
	})
	return process
}

func (s *stack) awaitTCP(t *testing.T, port int) {
	t.Helper()
	eventually(t, "the backend", func() bool { return parts.AcceptsTCP("127.0.0.1:"+itoa(port))(t.Context()) == nil })
}

// asNobody runs doctor as a user who is not Envoy's.
func (s *stack) asNobody(t *testing.T, args ...string) (string, int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	folder, err := os.MkdirTemp("", "nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	shell(t, folder, "cp "+s.binary+" extauthz && chmod 755 . extauthz")
	command := exec.CommandContext(t.Context(), filepath.Join(folder, "extauthz"), append([]string{"doctor"}, args...)...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return doctorOutput(t, command)
}

// bySelf runs doctor as the user who runs Envoy.
func (s *stack) bySelf(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return doctorOutput(t, exec.CommandContext(t.Context(), s.binary, append([]string{"doctor"}, args...)...))
}

func doctorOutput(t *testing.T, command *exec.Cmd) (string, int) {
	t.Helper()
	command.Env = []string{}
	output, err := command.CombinedOutput()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		return string(output), exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(output), 0
}

// expectRefused wants every attempt refused by a backend that somebody else reaches for.
func expectRefused(t *testing.T, output string, status int) {
	t.Helper()
	for _, tried := range []string{"GET past Envoy", "GET with x-user-id", "GET with x-user-id and X-Forwarded-For"} {
		if !strings.Contains(output, "ok    backend     "+tried+": refused: ") {
			t.Errorf("%s is not refused", tried)
		}
	}
	if status != 0 || t.Failed() {
		t.Errorf("exit status %d\n%s", status, output)
	}
}

// The way in that is shown, so that nobody takes it for a lock: a backend that serves one address only believes who
// writes that address into a header, and plain uvicorn has it so.
func TestAddressClosesNothing(t *testing.T) {
	s := startStack(t)
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	process, err := s.installer.StartPython(t.TempDir(), "by-address", "testdata/by_address", "--port", itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	s.awaitTCP(t, port)
	url := fmt.Sprintf("http://127.0.0.1:%d/api/me", port)
	if a := send(t, "GET", url, map[string]string{"x-user-id": "admin"}, ""); a.status != 403 {
		t.Errorf("%d %s, want 403", a.status, a.body)
	}
	spoofed := map[string]string{"x-user-id": "admin", "X-Forwarded-For": "127.0.0.2"}
	if a := send(t, "GET", url, spoofed, ""); a.status != 200 || a.body != `{"id":"admin"}` {
		t.Errorf("%d %s: this way in is gone, and docs/backend.md says that it is there", a.status, a.body)
	}
	output, status := s.bySelf(t, "--backend", url)
	const want = "FAIL  backend     GET with x-user-id and X-Forwarded-For: 200 over HTTP/1.1, and 403 without these headers"
	if status != 2 || !strings.Contains(output, want) {
		t.Errorf("exit status %d\n%s", status, output)
	}
}

// A backend at a Unix socket, in a folder made by the page's command, serves Envoy; another user is refused by the
// kernel, whatever they write into headers, and there is no port.
func TestBackendAtAUnixSocket(t *testing.T) {
	m := startMesh(t, parts.EnvoyNewest, "http.yaml")
	p := m.signUp(t, "Ana")
	if a := m.get(t, "/api/me", bearer(p.jwt)); a.status != 200 || !strings.Contains(a.body, p.id) {
		t.Errorf("through Envoy: %d %s", a.status, a.body)
	}
	// The stack's own backend and folder, and one by the page's command.
	for title, make := range map[string]func(t *testing.T) string{
		"as the demo has it": func(*testing.T) string { return m.backend },
		"by the page's commands": func(t *testing.T) string {
			folder, err := os.MkdirTemp("", "backend-") // t.TempDir's path may be too long for a socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(folder) })
			if err := os.Chmod(folder, 0o755); err != nil { // the recipe's own folder must close it
				t.Fatal(err)
			}
			writeApp(t, folder)
			words := []string{"/run/backend", folder + "/run", "-o backend", "-o " + itoa(os.Getuid()), "-g envoy", "-g " + itoa(os.Getgid())}
			shell(t, folder, strings.NewReplacer(words...).Replace(fencedBlock(t, "docs/backend.md", "install -d")))
			m.startApp(t, folder, uvicornArguments(t, "docs/backend.md", "--uds", words...)...)
			socket := folder + "/run/backend.sock"
			eventually(t, "the backend", func() bool { return parts.AnswersUnix(socket, "/health", 200)(t.Context()) == nil })
			return socket
		},
	} {
		t.Run(title, func(t *testing.T) {
			address := "unix://" + make(t) + "?path=/api/me"
			// Who runs as Envoy does is let in: that is what a socket does not stop.
			output, status := m.bySelf(t, "--backend", address)
			if status != 2 || !strings.Contains(output, "FAIL  backend     GET with x-user-id: 200 over HTTP/1.1, and 401 without") {
				t.Errorf("exit status %d\n%s", status, output)
			}
			output, status = m.asNobody(t, "--backend", address)
			expectRefused(t, output, status)
			if !strings.Contains(output, "refused: permission denied") {
				t.Error(output)
			}
		})
	}
}

// The demo's backend started without --uds is not open: it refuses what comes by TCP, whatever a header says.
func TestBackendRefusesTCP(t *testing.T) {
	s := startStack(t)
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	process, err := s.installer.StartPython(t.TempDir(), "plain", "demo/backend", "--port", itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	s.awaitTCP(t, port)
	url := fmt.Sprintf("http://127.0.0.1:%d/api/me", port)
	for _, address := range []string{"", "127.0.0.1", "127.0.0.2", "::1", "unix:", "/run/backend/backend.sock", "localhost"} {
		a := send(t, "GET", url, map[string]string{"x-user-id": "admin", "X-Forwarded-For": address, "Host": "unix",
			"X-Forwarded-Host": "/run/backend/backend.sock", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "0"}, "")
		if a.status != 403 {
			t.Errorf("X-Forwarded-For: %s: %d %s", address, a.status, a.body)
		}
	}
	// doctor cannot know why it is refused: a backend that believes users whom it knows would say the same.
	output, status := s.bySelf(t, "--backend", url)
	const want = "warn  backend     GET with x-user-id: 403 by the backend itself, which can be reached past Envoy"
	if status != 1 || !strings.Contains(output, want) {
		t.Errorf("exit status %d\n%s", status, output)
	}
}

// A backend by mtls.yaml and the page's commands serves Envoy, and nobody with another certificate or none.
func TestBackendByMutualTLS(t *testing.T) {
	m := startMesh(t, parts.EnvoyNewest, "mtls.yaml")
	p := m.signUp(t, "Ana")
	if a := m.get(t, "/api/me", bearer(p.jwt)); a.status != 200 || !strings.Contains(a.body, p.id) {
		t.Fatalf("through Envoy: %d %s", a.status, a.body)
	}
	address := fmt.Sprintf("127.0.0.1:%d/api/me", m.backendPort)
	for _, scheme := range []string{"https://", "http://"} {
		output, status := m.bySelf(t, "--backend", scheme+address)
		expectRefused(t, output, status)
	}
	own := filepath.Join(m.folder, "backend-tls")
	other := filepath.Join(m.folder, "other-tls")
	writeBackendCertificates(t, other)
	ask := func(certificate, key string) (int, error) {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		// The certificate is sent even where the server's list of authorities does not name its own.
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		}}}
		request, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-User-Id", "admin")
		request.Header.Set("X-Forwarded-For", "127.0.0.1")
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		io.Copy(io.Discard, response.Body)
		return response.StatusCode, nil
	}
	if status, err := ask(own+"/envoy.crt", own+"/envoy.key"); status != 200 {
		t.Errorf("by Envoy's certificate: %d %v, so that the rest shows nothing", status, err)
	}
	for title, name := range map[string]string{
		"a certificate of the same name by another authority": other + "/envoy",
		"the backend's own": own + "/backend",
	} {
		if status, err := ask(name+".crt", name+".key"); status != 0 || !isHandshakeRefused(err) {
			t.Errorf("%s: %d %v, want the handshake refused", title, status, err)
		}
	}
	// A renewed certificate is taken up as the page has it.
	if !holds(t, m, own+"/envoy.crt") {
		t.Error("Envoy does not tell which certificate it has")
	}
	shell(t, own, fencedBlock(t, "docs/backend.md", "mv new.key envoy.key"))
	eventually(t, "Envoy to take up the renewed certificate", func() bool { return holds(t, m, own+"/envoy.crt") })
	if a := m.get(t, "/api/me", bearer(p.jwt)); a.status != 200 {
		t.Errorf("by the renewed certificate: %d %s", a.status, a.body)
	}
	// And Envoy speaks to no other backend in its place, for that one would learn who calls.
	m.encrypted.Stop()
	writeApp(t, other)
	impostor := m.startApp(t, other, uvicornArguments(t, "docs/backend.md", "--ssl-cert-reqs",
		"0.0.0.0", "127.0.0.1", "8000", itoa(m.backendPort), "--ssl-ca-certs ca.crt", "--ssl-ca-certs "+own+"/ca.crt")...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := impostor.Await(ctx, parts.AcceptsTCP(fmt.Sprintf("127.0.0.1:%d", m.backendPort))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Envoy to refuse another backend's certificate", func() bool {
		a := m.getOnce(t, "/api/me", bearer(p.jwt))
		if a.status != 503 {
			t.Errorf("by another authority's backend: %d %s", a.status, a.body)
		}
		return stat(t, "http://"+m.envoyAdmin, "cluster.backend.ssl.fail_verify_error") > 0
	})
}

// isHandshakeRefused tells whether the server ended TLS: by an alert, or, as asyncio may, without one.
func isHandshakeRefused(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(fmt.Sprint(err), "remote error: tls:") ||
		strings.Contains(fmt.Sprint(err), "server closed idle connection") // it ended before the request was on its way
}

// holds tells whether Envoy has the certificate that is in the file now.
func holds(t *testing.T, m *mesh, file string) bool {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		t.Fatal("no certificate in " + file)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var loaded struct {
		Certificates []struct {
			Chain []struct {
				Serial string `json:"serial_number"`
			} `json:"cert_chain"`
		}
	}
	a := send(t, "GET", "http://"+m.envoyAdmin+"/certs", nil, "")
	if err := json.Unmarshal([]byte(a.body), &loaded); err != nil {
		t.Fatal(err, a.body)
	}
	for _, c := range loaded.Certificates {
		for _, link := range c.Chain {
			serial, ok := new(big.Int).SetString(link.Serial, 16)
			if ok && serial.Cmp(certificate.SerialNumber) == 0 {
				return true
			}
		}
	}
	return false
}
