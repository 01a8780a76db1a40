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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
			// The pause leaves the machine to what is tested, and to the tests beside this one.
			for ; ctx.Err() == nil; time.Sleep(3 * time.Millisecond) {
				switch a := m.getOnce(t, "/api/me", header()); {
				case a.status == http.StatusOK:
					requests.Add(1)
				case a.status == http.StatusServiceUnavailable && a.body == `{"detail":"Authentication service unavailable"}`:
					late.Add(1)
				default:
					t.Errorf("under load: %d %q%s", a.status, a.body, m.replicasByEnvoy(t))
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

// replicasByEnvoy tells what Envoy makes of the replicas: the cause of most 503s of its own.
func (m *mesh) replicasByEnvoy(t *testing.T) (stats string) {
	t.Helper()
	for _, name := range []string{
		"membership_healthy", "outlier_detection.ejections_active", "upstream_cx_connect_fail", "upstream_rq_timeout",
		"upstream_rq_per_try_timeout", "upstream_rq_retry_overflow", "upstream_rq_retry_limit_exceeded",
	} {
		stats += fmt.Sprintf(", %s %d", name, stat(t, "http://"+m.envoyAdmin, "cluster.extauthz."+name))
	}
	return stats
}

// more waits for as many requests more.
func more(t *testing.T, done func() int64, count int64) {
	t.Helper()
	seen := done()
	eventually(t, "more requests", func() bool { return done() >= seen+count })
}

// replicas are several extauthz that one Envoy asks, by http.yaml with so many endpoints.
type replicas struct {
	*mesh // of which the first is
	all   []*mesh
}

// startReplicas waits until Envoy finds all of them healthy. The filter's timeout is longer than a busy machine takes, so that
// Envoy's own 503 is of a connection or of a replica, and not of time.
func startReplicas(t *testing.T, version string, count int, change func(config string) string, settings ...string) *replicas {
	t.Helper()
	others := make([]*mesh, count-1)
	for i := range others {
		var ports [2]int
		for j := range ports {
			var err error
			if ports[j], err = parts.FreePort(); err != nil {
				t.Fatal(err)
			}
		}
		others[i] = &mesh{listen: fmt.Sprintf("127.0.0.1:%d", ports[0]), admin: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	}
	addresses := []string{"127.0.0.1:9191"} // which startMeshWith replaces
	for _, other := range others {
		addresses = append(addresses, other.listen)
	}
	m := startMeshWith(t, version, "http.yaml", func(config string) string {
		return change(withEndpoints(t, config, addresses...))
	}, settings...)
	r := &replicas{mesh: m, all: []*mesh{m}}
	for i, other := range others {
		other.stack, other.settings = m.stack, append(slices.Clone(m.settings), "EXTAUTHZ_LISTEN="+other.listen)
		other.folder = filepath.Join(m.folder, fmt.Sprint("replica-", i+2))
		if err := os.Mkdir(other.folder, 0o700); err != nil {
			t.Fatal(err)
		}
		other.startExtauthz(t)
		r.all = append(r.all, other)
	}
	r.awaitHealthy(t, count)
	for _, replica := range r.all { // Envoy's workers hear of it a moment later
		eventually(t, "a check at each replica", func() bool {
			r.getOnce(t, "/api/me", nil)
			clusters := send(t, "GET", "http://"+r.envoyAdmin+"/clusters", nil, "").body
			return strings.Contains(clusters, "extauthz::"+replica.listen+"::rq_success::") &&
				!strings.Contains(clusters, "extauthz::"+replica.listen+"::rq_success::0\n")
		})
	}
	return r
}

const filterTimeout = "                        timeout: 0.5s\n"

// patient has the filter wait longer than a busy machine takes.
func patient(t *testing.T) func(config string) string {
	return func(config string) string {
		if !strings.Contains(config, filterTimeout) {
			t.Fatal("the filter's timeout is not where it was")
		}
		return strings.Replace(config, filterTimeout, strings.Replace(filterTimeout, "0.5s", "5s", 1), 1)
	}
}

// awaitHealthy waits until Envoy counts so many replicas as healthy.
func (r *replicas) awaitHealthy(t *testing.T, count int) {
	t.Helper()
	eventually(t, fmt.Sprint(count, " healthy replicas"), func() bool {
		return stat(t, "http://"+r.envoyAdmin, "cluster.extauthz.membership_healthy") == count
	})
}

// answered sends requests one after another, and returns how many got 200.
func (r *replicas) answered(t *testing.T, count int, header map[string]string) (got int) {
	t.Helper()
	for range count {
		switch a := r.getOnce(t, "/api/me", header); {
		case a.status == http.StatusOK:
			got++
		case a.status != http.StatusServiceUnavailable:
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	return got
}

// Each of three replicas gets SIGTERM under load, drains, and another starts in its place: no request fails. With the
// overlays' EXTAUTHZ_SHUTDOWN_DELAY Envoy looks away first, and without one it asks another replica.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ version, delay string }{{parts.EnvoyNewest, "5s"}, {parts.EnvoyNewest, "0s"}, {parts.EnvoyOldest, "0s"}} {
		t.Run(row.version+"/"+row.delay, func(t *testing.T) {
			t.Parallel()
			r := startReplicas(t, row.version, 3, patient(t), "EXTAUTHZ_SHUTDOWN_DELAY="+row.delay)
			p := r.signUp(t, "Zoë Day")
			kinds := []map[string]string{bearer(p.jwt), bearer(p.raw), {"Cookie": p.cookie}}
			var turn atomic.Int64
			r.underLoad(t, 6, func() map[string]string { return kinds[turn.Add(1)%3] }, func(done func() int64) {
				for _, replica := range r.all {
					more(t, done, 350)
					if err := replica.extauthz.StopWithin(20 * time.Second); err != nil {
						t.Errorf("it ended with %v, want exit status 0", err)
					}
					more(t, done, 350)
					replica.startExtauthz(t)
					// Envoy asks it again once a health check has passed. The next one stops after that, as a roll-out
					// waits too: if all others were left out, those requests would fail that came before Envoy knew.
					checks := func() string { return send(t, "GET", "http://"+replica.admin+"/metrics", nil, "").body }
					eventually(t, "checks at the new process", func() bool {
						return strings.Contains(checks(), `outcome="allow",reason=""} `) && !strings.Contains(checks(), `extauthz_checks_total{method="session",outcome="allow",reason=""} 0`)
					})
					more(t, done, 200) // with which every failed connection to the old process has been counted
					r.awaitHealthy(t, 3)
				}
				t.Logf("%d requests", done())
			})
			for _, replica := range r.all { // which would go on answering for 5 s each at the test's end
				replica.extauthz.Kill()
			}
		})
	}
}

// Replicas are killed under load, without a word, and no request fails: neither those that were there at the time,
// nor those that come before Envoy knows. With one of three left 60 of 60 are answered.
func TestKilledReplicas(t *testing.T) {
	t.Parallel()
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := startReplicas(t, version, 3, patient(t))
			p := r.signUp(t, "Zoë Day")
			kinds := []map[string]string{bearer(p.jwt), bearer(p.raw), {"Cookie": p.cookie}}
			var turn atomic.Int64
			r.underLoad(t, 6, func() map[string]string { return kinds[turn.Add(1)%3] }, func(done func() int64) {
				for _, replica := range r.all[1:] {
					more(t, done, 200)
					replica.extauthz.Kill()
					more(t, done, 200)
				}
			})
			if got := r.answered(t, 60, bearer(p.jwt)); got != 60 {
				t.Errorf("just after: %d of 60", got)
			}
			r.awaitHealthy(t, 1)
			if got := r.answered(t, 60, bearer(p.jwt)); got != 60 {
				t.Errorf("with one healthy: %d of 60", got)
			}
			if a := r.get(t, "/api/me", bearer(p.jwt+"A")); a.status != http.StatusUnauthorized {
				t.Errorf("a forged JWT meanwhile: %d %s", a.status, a.body)
			}
			for _, replica := range r.all[1:] {
				replica.startExtauthz(t)
			}
			r.awaitHealthy(t, 3)
		})
	}
}

// A replica that hangs takes the requests along that it was given within the filter's timeout, five in a row at least, and
// no more: it is left out until it lives again.
func TestHungReplica(t *testing.T) {
	t.Parallel()
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := startReplicas(t, version, 3, asItIs)
			p := r.signUp(t, "Zoë Day")
			hung := r.all[2].extauthz
			if err := hung.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { hung.Signal(syscall.SIGCONT) })
			lost, began := 0, time.Now()
			eventually(t, "60 of 60 with one that hangs", func() bool {
				got := r.answered(t, 60, bearer(p.jwt))
				lost += 60 - got
				return got == 60
			})
			t.Logf("%d requests were lost; 60 of 60 after %s", lost, time.Since(began).Round(time.Millisecond))
			eventually(t, "it to be left out by what became of its checks", func() bool {
				return stat(t, "http://"+r.envoyAdmin, "cluster.extauthz.outlier_detection.ejections_enforced_total") > 0
			})
			if err := hung.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			r.awaitHealthy(t, 3)
		})
	}
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
