package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/cmd/extauthz/internal/commandtest"
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
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
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
	commandtest.Eventually(t, "300 lines", func() bool { return len(auditLines(t, path)) == 300 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	commandtest.Eventually(t, "the new file", func() bool {
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
