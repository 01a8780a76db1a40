package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"extauthz/cmd/extauthz/internal/commandtest"
)

// By systemd's own protocols: it is given its sockets, two for checks and one for the admin server, tells that it has
// started, how it is, that it reloads and that it stops.
func TestSystemd(t *testing.T) {
	jwks, _ := newIssuer(t)
	path, err := os.MkdirTemp("", "extauthz-") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(path, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	var (
		sockets []*os.File
		targets []string
	)
	open := func(network, name string) {
		listener, err := net.Listen(network, name)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if unix, ok := listener.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false)
		}
		socket, err := listener.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		sockets = append(sockets, socket)
		targets = append(targets, listener.Addr().String())
	}
	open("tcp", "127.0.0.1:0")
	open("unix", filepath.Join(path, "checks.sock"))
	open("tcp", "127.0.0.1:0")

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(path, "extauthz") // by this name the test's binary is the command
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	secret := commandtest.Folder{T: t, Path: path}.Write("secret", commandtest.SecretA)
	start := func() *exec.Cmd {
		command := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve`, program)
		command.Env = []string{"NOTIFY_SOCKET=" + manager.LocalAddr().String(), "LISTEN_FDS=3", "LISTEN_FDNAMES=checks:checks:admin",
			"EXTAUTHZ_LISTEN=systemd:checks", "EXTAUTHZ_ADMIN_LISTEN=systemd:admin", "BETTER_AUTH_URL=" + issuer, "JWKS_URL=" + jwks.URL, "BETTER_AUTH_SECRET_FILE=" + secret, endAtOnce}
		command.ExtraFiles, command.Stderr = sockets, t.Output()
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			command.Process.Kill()
			command.Wait()
		})
		return command
	}
	command := start()
	var heard []string
	hear := func(want string) {
		t.Helper()
		buffer := make([]byte, 4096)
		for !slices.Contains(heard, want) {
			manager.SetReadDeadline(time.Now().Add(20 * time.Second))
			count, err := manager.Read(buffer)
			if err != nil {
				t.Fatalf("waited in vain for %q; heard %q", want, heard)
			}
			heard = append(heard, strings.Split(strings.TrimSpace(string(buffer[:count])), "\n")...)
		}
	}
	hear("READY=1")
	hear("STATUS=ready")
	for _, target := range []string{targets[0], "unix://" + targets[1]} {
		connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		if status := healthOf(t, connection, ""); status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%s: health %s", target, status)
		}
		connection.Close()
	}
	if status := get(targets[2] + "/readyz"); status != 200 {
		t.Errorf("/readyz gives %d", status)
	}
	for _, content := range []string{commandtest.SecretB, ""} { // a reload that is refused ends as well
		commandtest.Folder{T: t, Path: path}.Write("secret", content)
		heard = nil
		command.Process.Signal(syscall.SIGHUP)
		hear("RELOADING=1")
		hear("READY=1")
	}
	commandtest.Folder{T: t, Path: path}.Write("secret", commandtest.SecretB) // for its next start
	command.Process.Signal(syscall.SIGTERM)
	hear("STOPPING=1")
	if err := command.Wait(); err != nil {
		t.Errorf("%v, want exit status 0", err)
	}

	// Who comes while it restarts waits, and is not refused.
	connection, err := grpc.NewClient("unix://"+targets[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answered := make(chan error)
	go func() {
		_, err := healthpb.NewHealthClient(connection).Check(t.Context(), &healthpb.HealthCheckRequest{})
		answered <- err
	}()
	time.Sleep(50 * time.Millisecond) // so that it comes before, mostly; either order must do
	start()
	if err := <-answered; err != nil {
		t.Errorf("a call while it restarts: %v", err)
	}
}
