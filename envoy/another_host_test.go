package envoy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The sample's backend may be on another host: its address is put into http.yaml, and a source address is taken out, as its
// introduction says.
func TestBackendOnAnotherHost(t *testing.T) {
	probe := exec.CommandContext(t.Context(), "unshare", "-n", "ip", "link", "add", "one", "type", "veth", "peer", "name", "two")
	if output, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no right to make networks here: %v %s", err, output)
	}
	s := startStack(t)
	sample, err := os.ReadFile("http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(sample), "\n    - name: backend\n")
	endpoint := regexp.MustCompile(`endpoint: \{ address: \{ .* \} \}`)
	backend := endpoint.ReplaceAllString(string(sample[at:]),
		"endpoint: { address: { socket_address: { address: 10.99.0.2, port_value: 8000 } } }")
	backend = regexp.MustCompile(`(?m)^ *upstream_bind_config: .*\n`).ReplaceAllString(backend, "")
	if at < 0 || backend == string(sample[at:]) {
		t.Fatal("the backend's endpoint is not where it was")
	}
	script, err := filepath.Abs("testdata/another_host.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			folder := t.TempDir()
			config := filepath.Join(folder, "envoy.yaml")
			if err := os.WriteFile(config, []byte(string(sample[:at])+backend), 0o600); err != nil {
				t.Fatal(err)
			}
			envoy, err := s.installer.Envoy(version)
			if err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), "unshare", "-n", "bash", script, envoy, s.binary, config)
			command.Dir = folder
			output, err := command.Output()
			if got := strings.TrimSpace(string(output)); got != "served 200" {
				t.Errorf("%q %v, want the backend's answer", got, err)
				for _, name := range []string{"envoy", "extauthz", "backend"} {
					log, _ := os.ReadFile(filepath.Join(folder, name+".log"))
					t.Logf("%s: %s", name, log)
				}
			}
		})
	}
}
