package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/reload"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/envoy/parts"
)

// dialTLS connects to the server with a certificate of the authority for these names, or with none.
func dialTLS(t *testing.T, address string, trusted, own *parts.Authority, names ...string) *grpc.ClientConn {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted.Certificate)
	config := &tls.Config{RootCAs: roots, ServerName: "extauthz.example.com"}
	if own != nil {
		certificate, key, err := own.Issue(time.Now().Add(time.Hour), names...)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

func isServing(connection *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

// writeServerFiles writes a fresh certificate as Kubernetes does: into a new folder, to which a symlink is moved.
func writeServerFiles(t *testing.T, folder, version string, authority *parts.Authority) {
	t.Helper()
	real := filepath.Join(folder, version)
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := authority.WriteFiles(real, time.Now().Add(time.Hour), "extauthz.example.com"); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(folder, "fresh")
	if err := os.Symlink(version, fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, filepath.Join(folder, "current")); err != nil {
		t.Fatal(err)
	}
}

func newAuthority(t *testing.T) *parts.Authority {
	t.Helper()
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// tlsSettings serve with the certificate in folder, by mTLS.
func tlsSettings(folder, jwks, address string) map[string]string {
	current := filepath.Join(folder, "current")
	return map[string]string{
		"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks, "EXTAUTHZ_LISTEN": address,
		"EXTAUTHZ_TLS_CERT_FILE": filepath.Join(current, "tls.crt"), "EXTAUTHZ_TLS_KEY_FILE": filepath.Join(current, "tls.key"),
		"EXTAUTHZ_TLS_CLIENT_CA_FILE": filepath.Join(current, "ca.crt"),
		"EXTAUTHZ_TLS_CLIENT_NAMES":   "spiffe://cluster.local/ns/istio-system/sa/ingress, envoy.example.com",
	}
}

// Only a client whose certificate is by the authority and for a listed name is let in.
func TestMutualTLS(t *testing.T) {
	jwks, _ := newIssuer(t)
	folder, address := t.TempDir(), "127.0.0.1:"+commandtest.ClosedPort(t)
	ours, strangers := newAuthority(t), newAuthority(t)
	writeServerFiles(t, folder, "1", ours)
	startServe(t, tlsSettings(folder, jwks.URL, address))
	for _, row := range []struct {
		title   string
		client  *grpc.ClientConn
		allowed bool
	}{
		{"a listed DNS name", dialTLS(t, address, ours, ours, "envoy.example.com"), true},
		{"a listed SPIFFE id", dialTLS(t, address, ours, ours, "spiffe://cluster.local/ns/istio-system/sa/ingress"), true},
		{"one of several names", dialTLS(t, address, ours, ours, "other.example.com", "envoy.example.com"), true},
		{"another name", dialTLS(t, address, ours, ours, "other.example.com"), false},
		{"another SPIFFE id", dialTLS(t, address, ours, ours, "spiffe://cluster.local/ns/default/sa/ingress"), false},
		{"a name that a listed one begins", dialTLS(t, address, ours, ours, "envoy.example.com.evil.example"), false},
		{"a wildcard", dialTLS(t, address, ours, ours, "*.example.com"), false},
		{"a stranger's authority", dialTLS(t, address, ours, strangers, "envoy.example.com"), false},
		{"no certificate", dialTLS(t, address, ours, nil), false},
	} {
		if err := isServing(row.client); (err == nil) != row.allowed {
			t.Errorf("%s: %v, want allowed %t", row.title, err, row.allowed)
		}
	}
	plain, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if isServing(plain) == nil {
		t.Error("answered without TLS")
	}
}

// The certificate and both authorities change under load: no check fails, open connections stay, new ones get the
// new certificate, and a file that cannot be used changes nothing.
func TestCertificatesChangeUnderLoad(t *testing.T) {
	jwks, issue := newIssuer(t)
	folder, address := t.TempDir(), "127.0.0.1:"+commandtest.ClosedPort(t)
	before, after := newAuthority(t), newAuthority(t)
	writeServerFiles(t, folder, "1", before)
	_, admin, _ := startServe(t, tlsSettings(folder, jwks.URL, address))
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	old := dialTLS(t, address, before, before, "envoy.example.com")
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	check := func(connection *grpc.ClientConn) error {
		response, err := decided(t, connection, token)
		if err == nil && response.GetOkResponse() == nil {
			t.Errorf("refused: %v", response)
		}
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var checks atomic.Int64
	for range 8 {
		load.Go(func() {
			for ctx.Err() == nil {
				if err := check(old); err != nil {
					t.Errorf("a check failed: %v", err)
					return
				}
				checks.Add(1)
			}
		})
	}
	commandtest.Eventually(t, "some load", func() bool { return checks.Load() > 100 })
	writeServerFiles(t, folder, "2", after)
	fresh := dialTLS(t, address, after, after, "envoy.example.com")
	commandtest.Eventually(t, "the new certificate", func() bool { return isServing(fresh) == nil })
	if err := os.WriteFile(filepath.Join(folder, "2", "tls.crt"), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(certificates.LookInterval + 100*time.Millisecond)
	if err := isServing(dialTLS(t, address, after, after, "envoy.example.com")); err != nil {
		t.Errorf("with a file that cannot be used: %v", err)
	}
	if isServing(dialTLS(t, address, after, before, "envoy.example.com")) == nil {
		t.Error("a certificate of the withdrawn authority is still taken")
	}
	seen := checks.Load()
	commandtest.Eventually(t, "load on the old connection", func() bool { return checks.Load() > seen+100 })
	cancel()
	load.Wait()
}

// Under load, after it was told to stop, nothing fails: it is not ready, goes on for the delay, and then ends.
func TestStopsWithoutAFailedCheck(t *testing.T) {
	jwks, issue := newIssuer(t)
	connection, admin, stop := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL, "EXTAUTHZ_SHUTDOWN_DELAY": "1s"})
	commandtest.Eventually(t, "health", func() bool { return healthOf(t, connection, "") == healthpb.HealthCheckResponse_SERVING })
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	var load sync.WaitGroup
	var checks, unready atomic.Int64
	ended := make(chan struct{})
	for range 8 {
		load.Go(func() { // as Envoy does, until it sees that this server is not ready
			for healthOf(t, connection, "") == healthpb.HealthCheckResponse_SERVING {
				if _, err := decided(t, connection, token); err != nil {
					t.Errorf("a check failed: %v", err)
				}
				checks.Add(1)
			}
			unready.Add(1)
		})
	}
	commandtest.Eventually(t, "some load", func() bool { return checks.Load() > 100 })
	go func() {
		if code := stop(); code != exitOK {
			t.Errorf("exit status %d", code)
		}
		close(ended)
	}()
	commandtest.Eventually(t, "/readyz to fall", func() bool { return get(admin+"/readyz") == 503 })
	load.Wait()
	if unready.Load() != 8 {
		t.Errorf("%d of 8 saw that it is not ready", unready.Load())
	}
	<-ended
}

// Several listeners serve at once, a Unix socket with its mode, without TLS also where TCP has it.
func TestSeveralListeners(t *testing.T) {
	jwks, _ := newIssuer(t)
	folder, err := os.MkdirTemp("", "extauthz-") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	authority := newAuthority(t)
	writeServerFiles(t, folder, "1", authority)
	address, path := "127.0.0.1:"+commandtest.ClosedPort(t), folder+"/checks.sock"
	startServe(t, tlsSettings(folder, jwks.URL, address+", unix://"+path+"?mode=0620"))
	if err := isServing(dialTLS(t, address, authority, authority, "envoy.example.com")); err != nil {
		t.Errorf("TCP: %v", err)
	}
	socket, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := isServing(socket); err != nil {
		t.Errorf("Unix socket: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != fs.FileMode(0o620) {
		t.Errorf("%v %v, want mode 0620", info.Mode(), err)
	}
}

// A connection that is too old is given up in favour of another, and no check fails.
func TestConnectionsAge(t *testing.T) {
	jwks, issue := newIssuer(t)
	connection, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL, "EXTAUTHZ_MAX_CONNECTION_AGE": "300ms"})
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	token := issue(map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": time.Now().Unix() + 600})
	peers := map[string]bool{}
	commandtest.Eventually(t, "a third connection", func() bool {
		response, err := decided(t, connection, token)
		if err != nil || response.GetOkResponse() == nil {
			t.Fatalf("a check failed: %v %v", response, err)
		}
		for _, peer := range connectionsTo(t, connection.Target()) {
			peers[peer] = true
		}
		return len(peers) >= 3
	})
}

// connectionsTo lists this machine's ends of the connections to a TCP address of it, from the kernel's table.
func connectionsTo(t *testing.T, address string) (clients []string) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf("%04X", number)
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[3] == "01" && strings.HasSuffix(fields[2], ":"+port) {
			clients = append(clients, fields[1])
		}
	}
	return clients
}

// Files of secrets are taken up when they change, one that cannot be used changes nothing, and SIGHUP does it at once.
func TestSecretFilesChange(t *testing.T) {
	jwks, _ := newIssuer(t)
	path := filepath.Join(t.TempDir(), "secrets")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	const first, second = "first-secret-of-more-than-32-characters!", "second-secret-of-more-than-32-characters"
	write("1:" + first)
	connection, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "API_AUDIENCE": audience, "JWKS_URL": jwks.URL,
		"BETTER_AUTH_SECRETS_FILE": path, "EXTAUTHZ_FORMER_SECRETS": "hs256"})
	commandtest.Eventually(t, "readiness", func() bool { return get(admin+"/readyz") == 200 })
	allows := func(secret string) bool {
		response, err := decided(t, connection, serviceToken(t, secret))
		if err != nil {
			t.Fatal(err)
		}
		return response.GetOkResponse() != nil
	}
	if !allows(first) || allows(second) {
		t.Fatal("the first secret does not decide")
	}
	write("2:" + second + ",1:" + first + "\n")
	commandtest.Eventually(t, "the second secret", func() bool { return allows(second) })
	if !allows(first) {
		t.Error("the former secret does not count")
	}
	write("no secrets")
	time.Sleep(server.ReloadInterval + reload.MaxSettling)
	if !allows(second) || !allows(first) {
		t.Error("a file that cannot be used changed the secrets")
	}
	write("2:" + second)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	commandtest.Eventually(t, "the first secret to be gone", func() bool { return !allows(first) })
	if !allows(second) {
		t.Error("the second secret does not count any more")
	}
}

// serviceToken is signed with the shared secret.
func serviceToken(t *testing.T, secret string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": issuer, "aud": audience, "sub": "billing", "exp": time.Now().Unix() + 600})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}
