package meshtest

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/envoy/parts"
)

func run(t *testing.T, name string, arguments ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
}

// assemble makes the image and unpacks it into a bundle that a runtime can run.
func assemble(t *testing.T, architecture string) (bundle string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can unpack an image with its owners, and run it")
	}
	folder := t.TempDir()
	run(t, "../image/assemble", architecture, folder)
	run(t, "umoci", "unpack", "--image", folder+"/oci:latest", folder+"/bundle")
	var size int64
	filepath.WalkDir(folder+"/oci", func(_ string, entry fs.DirEntry, _ error) error {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	t.Logf("%s: %.1f MB to pull", architecture, float64(size)/1e6)
	if size > 30e6 {
		t.Errorf("%d bytes, more than a binary and certificates", size)
	}
	return folder + "/bundle"
}

// The image holds a binary and certificates, for each architecture that it is made for.
func TestImageHolds(t *testing.T) {
	for architecture, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		bundle := assemble(t, architecture)
		var files []string
		if err := filepath.WalkDir(bundle+"/rootfs", func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				files = append(files, strings.TrimPrefix(path, bundle+"/rootfs"))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(files)
		if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/extauthz"}; !slices.Equal(files, want) {
			t.Errorf("it holds %v, want %v", files, want)
		}
		binary, err := elf.Open(bundle + "/rootfs/extauthz")
		if err != nil {
			t.Fatal(err)
		}
		if binary.Machine != machine {
			t.Errorf("%s: the binary is for %s", architecture, binary.Machine)
		}
		binary.Close()
	}
}

// seccompDefault is the profile that container engines give by default, as a runtime wants it: what it allows for so many capabilities, which is none,
// and this architecture.
func seccompDefault(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	type condition struct{ Caps, Arches []string }
	var profile struct {
		DefaultAction   string
		DefaultErrnoRet *int
		Syscalls        []struct {
			Names              []string
			Action             string
			Args               []any
			ErrnoRet           *int
			Includes, Excludes condition
		}
	}
	if err := json.Unmarshal(content, &profile); err != nil {
		t.Fatal(err)
	}
	var rules []any
	for _, s := range profile.Syscalls {
		if len(s.Includes.Caps) > 0 || len(s.Includes.Arches) > 0 && !slices.Contains(s.Includes.Arches, "amd64") || slices.Contains(s.Excludes.Arches, "amd64") {
			continue
		}
		rule := map[string]any{"names": s.Names, "action": s.Action}
		if len(s.Args) > 0 {
			rule["args"] = s.Args
		}
		if s.ErrnoRet != nil {
			rule["errnoRet"] = *s.ErrnoRet
		}
		rules = append(rules, rule)
	}
	seccomp := map[string]any{"defaultAction": profile.DefaultAction, "architectures": []string{"SCMP_ARCH_X86_64"}, "syscalls": rules}
	if profile.DefaultErrnoRet != nil {
		seccomp["defaultErrnoRet"] = *profile.DefaultErrnoRet
	}
	return seccomp
}

// A container runtime runs the image as the manifest says: its user, a root that cannot be written, no capability, the default system calls. It becomes ready,
// answers checks, and leaves nothing behind.
func TestImageRuns(t *testing.T) {
	s := startStack(t)
	bundle := assemble(t, "amd64")
	config := filepath.Join(bundle, "config.json")
	content, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var spec object
	if err := json.Unmarshal(content, &spec); err != nil {
		t.Fatal(err)
	}
	process := spec.at("process").(map[string]any)
	if user := spec.at("process", "user"); fmt.Sprint(user) != "map[gid:65532 uid:65532]" {
		t.Errorf("it runs as %v", user)
	}
	if args := fmt.Sprint(process["args"]); args != "[/extauthz serve]" {
		t.Errorf("it runs %s", args)
	}
	if title := spec.text("annotations", "org.opencontainers.image.title"); title != "extauthz" {
		t.Errorf("its label is %q", title)
	}
	listen, admin := freeAddress(t), freeAddress(t)
	environment := process["env"].([]any)
	for _, setting := range append(slices.Clone(s.settings), "EXTAUTHZ_LISTEN="+listen, "EXTAUTHZ_ADMIN_LISTEN="+admin) {
		environment = append(environment, setting)
	}
	process["env"], process["terminal"], process["noNewPrivileges"], process["rlimits"] = environment, false, true, []any{}
	process["capabilities"] = map[string]any{}
	spec.at("root").(map[string]any)["readonly"] = true
	linux := spec.at("linux").(map[string]any)
	linux["seccomp"] = seccompDefault(t)
	delete(linux, "resources")
	linux["namespaces"] = []any{map[string]any{"type": "pid"}, map[string]any{"type": "ipc"}, map[string]any{"type": "mount"}, map[string]any{"type": "uts"}} // and this machine's network
	spec["mounts"] = []any{map[string]any{"destination": "/proc", "type": "proc", "source": "proc"}}
	if content, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, content, 0o600); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("extauthz-test-%d", os.Getpid())
	state := t.TempDir()
	container, err := parts.Start("runc", t.TempDir(), nil, exec.Command("runc", "--root", state, "run", "--bundle", bundle, id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("runc", "--root", state, "delete", "--force", id).Run()
		container.Stop()
	})
	if err := container.Await(t.Context(), parts.AnswersHTTP("http://"+admin+"/readyz", 200)); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), "runc", "--root", state, "state", id).Output()
	if err != nil {
		t.Fatal(err)
	}
	var running struct{ PID int }
	if err := json.Unmarshal(output, &running); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", running.PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65532\t65532", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	connection, err := grpc.NewClient(listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	for token, want := range map[string]bool{s.token(t): true, session: true, session[1:]: false} {
		response, err := authv3.NewAuthorizationClient(connection).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Headers: map[string]string{"authorization": "Bearer " + token}}}}})
		if err != nil || (response.GetDeniedResponse() == nil) != want {
			t.Errorf("%v %v, want allowed: %t", response, err, want)
		}
	}
	if err := exec.Command("runc", "--root", state, "kill", id, "TERM").Run(); err != nil {
		t.Error(err)
	}
	select {
	case <-container.Done():
	case <-time.After(10 * time.Second):
		t.Error("it does not end at SIGTERM")
	}
	if _, err := os.Stat(bundle + "/rootfs/tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it left something: %v", err)
	}
}
