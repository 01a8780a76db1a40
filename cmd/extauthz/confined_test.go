package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/envoy/parts"
)

// The binary is static, and serves from a root that holds nothing else and cannot be written, as an ordinary user without a
// capability and without the means to gain one.
func TestServesConfined(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can build such a confinement")
	}
	root := t.TempDir()
	binary := filepath.Join(root, "extauthz")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := file.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("it is linked with %v (%v)", libraries, err)
	}
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			t.Error("it wants a dynamic linker")
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	jwks, issue := newIssuer(t)
	checks, admin := "127.0.0.1:"+commandtest.ClosedPort(t), "127.0.0.1:"+commandtest.ClosedPort(t)
	confine := fmt.Sprintf("mount --make-rprivate / && mount --bind %[1]s %[1]s && mount -o remount,bind,ro %[1]s && exec chroot --userspec=65532:65532 %[1]s /extauthz serve", root)
	process, err := parts.Start("extauthz", t.TempDir(), []string{"EXTAUTHZ_LISTEN=" + checks, "EXTAUTHZ_ADMIN_LISTEN=" + admin, "BETTER_AUTH_URL=" + issuer, "API_AUDIENCE=" + audience, "JWKS_URL=" + jwks.URL},
		exec.Command("setpriv", "--no-new-privs", "unshare", "--mount", "sh", "-c", confine))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	if err := process.Await(t.Context(), parts.AnswersHTTP("http://"+admin+"/readyz", 200)); err != nil {
		t.Fatal(err, process.LogEnd())
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Uid:\t65532\t65532\t65532\t65532"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	if mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", process.PID())); err != nil || !strings.Contains(string(mounts), " / ro,") {
		t.Errorf("its root can be written: %v\n%s", err, mounts)
	}
	connection, err := grpc.NewClient(checks, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 60})
	response, err := decided(t, connection, token)
	if err != nil || response.GetOkResponse() == nil {
		t.Errorf("%v %v", response, err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
		t.Errorf("it left files: %v %v", left, err)
	}
}
