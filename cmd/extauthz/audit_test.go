package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz"
)

func auditLines(t *testing.T, path string) (records []extauthz.AuditRecord) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var record extauthz.AuditRecord
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		records = append(records, record)
	}
	return records
}

// 300 allows and 200 denials are 500 whole lines, over a file that is moved away in between, and after the end.
func TestAuditLog(t *testing.T) {
	jwks, issue := newIssuer(t)
	path := filepath.Join(t.TempDir(), "audit.log")
	connection, admin, stop := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL, "EXTAUTHZ_AUDIT_LOG": path})
	eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	good := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	check := func(count int, token string) {
		var checks sync.WaitGroup
		for range 10 {
			checks.Go(func() {
				for range count / 10 {
					if _, err := authv3.NewAuthorizationClient(connection).Check(t.Context(), checkOf(token)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		checks.Wait()
	}
	check(300, good)
	eventually(t, "300 lines", func() bool { return len(auditLines(t, path)) == 300 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new file", func() bool {
		check(10, good)
		return len(auditLines(t, path)) > 0
	})
	check(200, good+"A")
	if code := stop(); code != exitOK {
		t.Errorf("exit status %d", code)
	}
	denied := 0
	for _, record := range auditLines(t, path) {
		if record.Outcome == "deny" {
			denied++
		}
	}
	if denied != 200 {
		t.Errorf("%d denials, want 200", denied)
	}
	for _, file := range []string{path, path + ".1"} {
		content, err := os.ReadFile(file)
		if err != nil || bytes.Contains(content, []byte(good[len(good)-40:])) {
			t.Errorf("%v, or %s holds a token", err, file)
		}
	}
}

// stuck is a disk that does not come back until it is let go.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return len(p), nil
}

// A disk that does not come back holds nobody up: what finds no room is dropped and counted. The log says that the
// disk hangs while it does, and afterwards how much was lost.
func TestAuditWaitsForNoDisk(t *testing.T) {
	disk := stuck{make(chan struct{})}
	var messages safeBuffer
	registry := prometheus.NewRegistry()
	a, err := newAuditLog("", &lineFile{file: disk}, slog.New(slog.NewTextHandler(&messages, nil)), registry)
	if err != nil {
		t.Fatal(err)
	}
	const records = 3 * auditRoom
	for range records {
		a.record(extauthz.AuditRecord{Path: strings.Repeat("p", 200)}) // returns, or the test does not end
	}
	if dropped := droppedOf(t, registry); dropped != records-auditRoom {
		t.Errorf("%v of %d dropped, with room for %d", dropped, records, auditRoom)
	}
	eventually(t, "the log to tell of the disk", func() bool { return strings.Contains(messages.String(), "does not answer") })
	close(disk.release)
	eventually(t, "the log to tell of the loss", func() bool {
		return strings.Contains(messages.String(), fmt.Sprintf(`msg="audit records were dropped" count=%d`, records-auditRoom)) &&
			strings.Contains(messages.String(), "answers again")
	})
	a.close()
	if dropped := droppedOf(t, registry); dropped != records-auditRoom {
		t.Errorf("%v dropped in the end", dropped)
	}
}

// droppedOf is extauthz_audit_dropped_total.
func droppedOf(t *testing.T, registry *prometheus.Registry) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	return int(families[0].Metric[0].GetCounter().GetValue())
}

// A full disk loses records, which is counted and told, and nothing else; a path that cannot be written stops the start.
func TestAuditOnAFullDisk(t *testing.T) {
	t.Parallel()
	var messages safeBuffer
	registry := prometheus.NewRegistry()
	a, err := newAuditLog("/dev/full", nil, slog.New(slog.NewTextHandler(&messages, nil)), registry)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		a.record(extauthz.AuditRecord{})
	}
	eventually(t, "ten dropped", func() bool { return droppedOf(t, registry) == 10 })
	eventually(t, "the log to tell", func() bool { return strings.Contains(messages.String(), `msg="audit records were dropped" count=10`) })
	a.record(extauthz.AuditRecord{})
	a.close()
	if !strings.Contains(messages.String(), "no space left on device") || droppedOf(t, registry) != 11 {
		t.Errorf("%d dropped; the log: %s", droppedOf(t, registry), messages.String())
	}
	if _, err := newAuditLog("/no/such/folder/audit.log", nil, nil, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "EXTAUTHZ_AUDIT_LOG names a file that cannot be written") {
		t.Errorf("%v", err)
	}
}

type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
