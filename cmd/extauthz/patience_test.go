package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/commandtest"
)

// SIGHUP does not end a server from the moment on that package hangup is initialized, which is before the packages that
// take their time; it does end a command that does not reload.
func TestHangupInTheFirstMoments(t *testing.T) {
	jwks, _ := newIssuer(t)
	for wait := time.Duration(0); wait < 60*time.Millisecond; wait += 3 * time.Millisecond {
		command := commandOf(t, "serve")
		command.Env = []string{"EXTAUTHZ_LISTEN=127.0.0.1:0", "EXTAUTHZ_ADMIN_LISTEN=127.0.0.1:0", "BETTER_AUTH_URL=" + issuer, "JWKS_URL=" + jwks.URL, "GODEBUG=inittrace=1", endAtOnce}
		stderr, err := command.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		heard := bufio.NewScanner(stderr)
		for heard.Scan() && !strings.HasPrefix(heard.Text(), "init extauthz/cmd/extauthz/internal/hangup") {
			if strings.HasPrefix(heard.Text(), "init google.golang.org/protobuf/internal/impl") {
				t.Error("package hangup comes late")
			}
		}
		time.Sleep(wait)
		command.Process.Signal(syscall.SIGHUP)
		for heard.Scan() && !strings.Contains(heard.Text(), `"serving"`) {
		}
		command.Process.Signal(syscall.SIGTERM)
		go io.Copy(io.Discard, stderr)
		if err := command.Wait(); err != nil {
			t.Errorf("SIGHUP %s after package hangup: %v", wait, err)
		}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	command := commandOf(t, "check", "-")
	command.Stdin = reader // which says nothing
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	commandtest.Eventually(t, "check to end by SIGHUP", func() bool {
		command.Process.Signal(syscall.SIGHUP)
		var status syscall.WaitStatus
		pid, _ := syscall.Wait4(command.Process.Pid, &status, syscall.WNOHANG, nil)
		return pid == command.Process.Pid && status.Signaled()
	})
}

// An audit log in a FIFO that nobody reads keeps neither the start nor a check waiting. Its reader may come later.
func TestAuditInAFIFO(t *testing.T) {
	jwks, issue := newIssuer(t)
	path := filepath.Join(t.TempDir(), "audit")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	messages, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Close()
	p := startProcess(t, stderr, "JWKS_URL="+jwks.URL, "EXTAUTHZ_AUDIT_LOG="+path)
	stderr.Close()
	heard := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(messages)
		heard <- string(all)
	}()
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	if status, _ := p.status(t, token); status != 200 {
		t.Errorf("%d", status)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY, 0) // waits for the writer's next attempt
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	lines := bufio.NewScanner(reader)
	p.status(t, token)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"subject":"user-1"`) {
		t.Errorf("read %q %v", lines.Text(), lines.Err())
	}
	// A reader that stops reading, and one that goes away.
	for range 300 {
		p.status(t, token)
	}
	reader.Close()
	if status, _ := p.status(t, token+"A"); status != 401 {
		t.Errorf("%d", status)
	}
	if took, err := p.stop(t); err != nil || took > 12*time.Second {
		t.Errorf("SIGTERM: %v after %s", err, took)
	}
	if all := <-heard; !strings.Contains(all, "FIFO without a reader") {
		t.Errorf("the log does not tell what to do: %s", all)
	}
}

// Who is slow to ask the admin listener, or to read what it says, is not waited for.
func TestAdminListenerIsBounded(t *testing.T) {
	_, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "JWKS_URL": "http://127.0.0.1:" + commandtest.ClosedPort(t)})
	var all sync.WaitGroup
	for name, begun := range map[string]string{
		"headers without end": "GET /readyz HTTP/1.1\r\nHost: a\r\nX-A: ",
		"a body without end":  "GET /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
	} {
		connection, err := net.Dial("tcp", admin)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		io.WriteString(connection, begun)
		connection.SetReadDeadline(time.Now().Add(3 * 10 * time.Second))
		all.Go(func() {
			if _, err := io.Copy(io.Discard, connection); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	if status := get(admin + "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz gives %d", status)
	}
}

// A manager that does not read what it is told keeps neither the start nor the end waiting.
func TestManagerThatDoesNotListen(t *testing.T) {
	folder, err := os.MkdirTemp("", "extauthz-") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	sender, err := net.DialUnix("unixgram", nil, manager.LocalAddr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	sender.SetWriteDeadline(time.Now().Add(time.Second))
	for err == nil {
		_, err = sender.Write([]byte("STATUS=full"))
	}
	jwks, issue := newIssuer(t)
	p := startProcess(t, nil, "JWKS_URL="+jwks.URL, "NOTIFY_SOCKET="+manager.LocalAddr().String())
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	if status, _ := p.status(t, token); status != 200 {
		t.Errorf("%d", status)
	}
	if took, err := p.stop(t); err != nil || took > 12*time.Second {
		t.Errorf("SIGTERM: %v after %s", err, took)
	}
}
