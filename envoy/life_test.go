package envoy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/envoy/parts"
)

// underLoad sends requests all the time while happening runs, and wants them answered with 200. One in a hundred may get the 503 of a check
// that had no time, which a busy machine brings about; the 503 of a check that was cut off is Envoy's own, has no body, and may not come at all.
func (m *mesh) underLoad(t *testing.T, clients int, header func() map[string]string, happening func(done func() int64)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var requests, late atomic.Int64
	for range clients {
		load.Go(func() {
			for ctx.Err() == nil {
				switch a := m.getOnce(t, "/api/me", header()); {
				case a.status == http.StatusOK:
					requests.Add(1)
				case a.status == http.StatusServiceUnavailable && a.body == `{"detail":"Authentication service unavailable"}`:
					late.Add(1)
				default:
					t.Errorf("under load: %d %q", a.status, a.body)
					return
				}
			}
		})
	}
	happening(requests.Load)
	cancel()
	load.Wait()
	if late.Load() > requests.Load()/100 {
		t.Errorf("under load: %d of %d got 503", late.Load(), requests.Load())
	}
}

// more waits for as many requests more.
func more(t *testing.T, done func() int64, count int64) {
	t.Helper()
	seen := done()
	eventually(t, "more requests", func() bool { return done() >= seen+count })
}

// Each of two replicas is restarted under load, and no request fails: readiness falls first, Envoy looks away, and only
// then the server goes.
func TestRollingRestart(t *testing.T) {
	m := startMesh(t, parts.EnvoyNewest, "http.yaml", "EXTAUTHZ_SHUTDOWN_DELAY=5s")
	// A second replica, which Envoy gets to know by a configuration with both.
	second := &mesh{stack: m.stack, folder: filepath.Join(m.folder, "second"), settings: append([]string{}, m.settings...)}
	if err := os.Mkdir(second.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = parts.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	second.listen, second.admin = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	second.settings = append(second.settings, "EXTAUTHZ_LISTEN="+second.listen)
	second.startExtauthz(t)
	m.envoy.Stop()
	config := filepath.Join(m.folder, "envoy.yaml")
	content, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := func(address string) string {
		return "- endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: " + address[strings.LastIndex(address, ":")+1:] + " } } }\n"
	}
	both := strings.Replace(string(content), endpoint(m.listen), endpoint(m.listen)+"              "+endpoint(second.listen), 1)
	if both == string(content) {
		t.Fatal("the endpoint is not where it was")
	}
	const timeout = "                        timeout: 0.5s\n"
	if !strings.Contains(both, timeout) {
		t.Fatal("the filter's timeout is not where it was")
	}
	both = strings.Replace(both, timeout, strings.Replace(timeout, "0.5s", "5s", 1), 1) // Envoy's own 503 is then of a connection
	if err := os.WriteFile(config, []byte(both), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if m.envoy, err = m.installer.StartEnvoy(ctx, m.folder, parts.EnvoyNewest, config, m.address); err != nil {
		t.Fatal(err)
	}
	p := m.signUp(t, "Zoë Day")
	kinds := []map[string]string{bearer(p.jwt), bearer(p.raw), {"Cookie": p.cookie}}
	var turn atomic.Int64
	m.underLoad(t, 6, func() map[string]string { return kinds[turn.Add(1)%3] }, func(done func() int64) {
		for _, replica := range []*mesh{m, second} {
			more(t, done, 200)
			if err := replica.extauthz.StopWithin(20 * time.Second); err != nil {
				t.Errorf("it ended with %v, want exit status 0", err)
			}
			more(t, done, 200)
			replica.startExtauthz(t)
			// Envoy takes it in again once its health check has passed.
			checks := func() string { return send(t, "GET", "http://"+replica.admin+"/metrics", nil, "").body }
			eventually(t, "checks at the new process", func() bool {
				return strings.Contains(checks(), `outcome="allow",reason=""} `) && !strings.Contains(checks(), `extauthz_checks_total{method="session",outcome="allow",reason=""} 0`)
			})
		}
	})
}

// The shared secret changes under load, its services move one after another, and no request fails.
func TestSecretRotation(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "secrets")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	const fresh = "the-tests-other-secret-of-many-characters"
	write("1:" + secret)
	m := startMesh(t, parts.EnvoyNewest, "http.yaml", "BETTER_AUTH_SECRET=", "BETTER_AUTH_SECRETS_FILE="+file, "EXTAUTHZ_FORMER_SECRETS=hs256")
	token := func(key string) map[string]string {
		claims, err := json.Marshal(map[string]any{"iss": m.issuerURL, "aud": audience, "sub": "billing", "exp": time.Now().Unix() + 300})
		if err != nil {
			t.Fatal(err)
		}
		encode := base64.RawURLEncoding.EncodeToString
		signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(signed))
		return bearer(signed + "." + encode(mac.Sum(nil)))
	}
	var signer atomic.Pointer[string]
	use := func(key string) { signer.Store(&key) }
	use(secret)
	m.underLoad(t, 4, func() map[string]string { return token(*signer.Load()) }, func(done func() int64) {
		more(t, done, 100)
		write("2:" + fresh + ",1:" + secret)
		eventually(t, "the new secret", func() bool { return m.get(t, "/api/me", token(fresh)).status == http.StatusOK })
		more(t, done, 100)
		use(fresh)
		more(t, done, 100)
	})
	write("2:" + fresh)
	eventually(t, "the old secret to be gone", func() bool { return m.get(t, "/api/me", token(secret)).status == http.StatusUnauthorized })
	if a := m.get(t, "/api/me", token(fresh)); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}
