package envoy

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/envoy/parts"
)

// With with_request_body Envoy sends the body along with the check. It changes no verdict, and the backend gets it
// whole; a body that is more than the bound of a message is refused with a reason.
func TestBodiesBesideTheCheck(t *testing.T) {
	var got string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = fmt.Sprintf("%s %d %x", r.Header.Get("x-user-name"), len(body), sha256.Sum256(body))
	}))
	defer backend.Close()
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	sample, err := os.ReadFile("http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		title, options string
		sizes          map[int]int // of a body, to the status
	}{
		{"whole, as text", "max_request_bytes: 2200000", map[int]int{0: 200, 60 << 10: 200, 2 << 20: 200}},
		{"whole, as bytes", "max_request_bytes: 2200000, pack_as_bytes: true", map[int]int{2 << 20: 200}},
		{"in part, as text", "max_request_bytes: 1000000, allow_partial_message: true", map[int]int{2 << 20: 200}},
		{"in part, as bytes", "max_request_bytes: 2097152, allow_partial_message: true, pack_as_bytes: true", map[int]int{2 << 20: 200, 5 << 20: 200}},
		{"more than a message may hold", "max_request_bytes: 8000000, pack_as_bytes: true", map[int]int{2 << 20: 200, 4 << 20: 503}},
	} {
		t.Run(row.title, func(t *testing.T) {
			changed := strings.NewReplacer("clear_route_cache: false", "clear_route_cache: false\n                      with_request_body: { "+row.options+" }",
				"per_connection_buffer_limit_bytes: 1048576", "per_connection_buffer_limit_bytes: 16777216", parts.BackendPipe, parts.BackendPort(port),
				"timeout: 0.5s\n                      #", "timeout: 5s\n                      #").Replace(string(sample))
			config := filepath.Join(t.TempDir(), "bodies.yaml")
			if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			m := startMesh(t, envoyVersions[len(envoyVersions)-1], config, "EXTAUTHZ_MAX_MESSAGE_MIB=3")
			p := m.signUp(t, "Zoë Day")
			for size, want := range row.sizes {
				body := strings.Repeat("0123456789abcdef", size/16)
				got = ""
				send := m.send
				if want == http.StatusServiceUnavailable {
					send = m.sendOnce // that is the verdict
				}
				a := send(t, http.MethodPost, "/api/notes", bearer(p.jwt), body)
				if a.status != want {
					t.Errorf("%d bytes: %d %s, want %d", size, a.status, a.body, want)
				}
				if received := fmt.Sprintf("Zo%%C3%%AB Day %d %x", size, sha256.Sum256([]byte(body))); want == 200 && got != received {
					t.Errorf("%d bytes: the backend got %q, want %q", size, got, received)
				}
				if want == 503 && got != "" {
					t.Errorf("%d bytes: refused, and the backend got %q", size, got)
				}
				if want == 503 {
					m.awaitOutage(t, "oversized_message")
				}
				if a := send(t, http.MethodPost, "/api/notes", bearer(p.jwt+"A"), body); a.status == 200 {
					t.Errorf("%d bytes and a forged token: %d", size, a.status)
				}
			}
		})
	}
}

// awaitOutage waits until extauthz has logged that reason, which it does after its answer.
func (m *mesh) awaitOutage(t *testing.T, reason string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		last := m.lastOutage()
		if strings.Contains(last, `"reason":"`+reason+`"`) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the last outage in the log is %s, want %s", last, reason)
			return
		}
	}
}
