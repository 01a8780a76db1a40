package envoy

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

const (
	secret   = "the-tests-own-secret-of-many-characters"
	audience = "http://127.0.0.1:8000"
	frontEnd = "http://localhost:3000" // the sample's CORS origin
)

// stack is what all tests of this package share: PostgreSQL, Better Auth, the backend, and the binary
// that is tested. Envoy and extauthz are started by each test.
type stack struct {
	installer  *parts.Installer
	folder     string
	database   string // its owner's connection string
	reader     string // extauthz's, whose role may read and nothing else
	issuerURL  string
	issuerPort int
	backend    string // the Unix socket that Envoy alone should reach
	binary     string
	running    []*parts.Process
	postgres   *parts.Postgres
}

var shared struct {
	once  sync.Once
	stack *stack
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.stack != nil {
		shared.stack.stop()
	}
	os.Exit(code)
}

func startStack(t *testing.T) *stack {
	t.Helper()
	shared.once.Do(func() { shared.stack, shared.err = newStack() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.stack
}

func newStack() (s *stack, err error) {
	s = &stack{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute) // the first time it installs
	defer cancel()
	if s.installer, err = parts.NewInstaller(os.Stderr); err != nil {
		return s, err
	}
	if err = s.installer.All(parts.EnvoyOldest, parts.EnvoyNewest); err != nil {
		return s, err
	}
	if s.folder, err = os.MkdirTemp("", "extauthz-stack-"); err != nil {
		return s, err
	}
	if s.binary, err = s.installer.BuildExtauthz(s.folder); err != nil {
		return s, err
	}
	var ports [2]int
	for i := range ports {
		if ports[i], err = parts.FreePort(); err != nil {
			return s, err
		}
	}
	if s.postgres, err = s.installer.StartPostgres(ctx, s.folder, ports[0]); err != nil {
		return s, err
	}
	if s.database, err = s.postgres.CreateDatabase(ctx, "app"); err != nil {
		return s, err
	}
	s.issuerPort, s.issuerURL = ports[1], fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	issuer, err := s.installer.StartIssuer(ctx, s.folder, parts.IssuerSettings{
		Port: s.issuerPort, URL: s.issuerURL, Audience: audience, Secret: secret, DatabaseURL: s.database, TrustedOrigins: frontEnd,
	})
	if err != nil {
		return s, err
	}
	s.running = append(s.running, issuer)
	if s.reader, err = s.installer.ReaderURL(ctx, s.database); err != nil {
		return s, err
	}
	s.backend = filepath.Join(s.folder, "backend", "backend.sock")
	backend, err := s.installer.StartBackend(ctx, s.folder, s.backend)
	if err != nil {
		return s, err
	}
	s.running = append(s.running, backend)
	return s, nil
}

func (s *stack) stop() {
	for _, process := range s.running {
		process.Stop()
	}
	if s.postgres != nil {
		s.postgres.Stop()
	}
	if s.folder != "" {
		os.RemoveAll(s.folder)
	}
}

// mesh is one Envoy with its extauthz.
type mesh struct {
	*stack
	sample   string
	url      string // of Envoy's listener
	address  string
	envoy    *parts.Process
	extauthz *parts.Process
	listen   string   // where extauthz takes checks
	settings []string // extauthz's environment
	admin    string

	envoyAdmin string
	folder     string

	encrypted   *parts.Process // the backend of mtls.yaml, which has a port
	backendPort int

	collector *collector // of tracing.yaml

	mu   sync.Mutex
	sent []string // every credential that went through Envoy
}

// authority signs the certificates of the tests, and their HTTP client trusts it.
var authority = sync.OnceValues(func() (*parts.Authority, error) {
	authority, err := parts.NewAuthority()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.Certificate)
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	return authority, nil
})

// writeCertificate puts a fresh certificate for these names, its key and its authority into a folder, each file at once.
func writeCertificate(t *testing.T, folder string, names ...string) {
	t.Helper()
	ca, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteFiles(folder, time.Now().Add(time.Hour), names...); err != nil {
		t.Fatal(err)
	}
}

// startMesh runs a sample configuration on ports that are free here; nothing else of it is changed.
func startMesh(t *testing.T, version, sample string, settings ...string) *mesh {
	t.Helper()
	return startMeshWith(t, version, sample, func(config string) string { return config }, settings...)
}

// startMeshWith is startMesh with the configuration changed before its ports are.
func startMeshWith(t *testing.T, version, sample string, change func(config string) string, settings ...string) *mesh {
	t.Helper()
	m := &mesh{stack: startStack(t), sample: sample}
	folder, err := os.MkdirTemp("", "extauthz-mesh-") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	m.folder = folder
	var ports [4]int
	for i := range ports {
		if ports[i], err = parts.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	m.address = fmt.Sprintf("127.0.0.1:%d", ports[0])
	m.url, m.admin = "http://"+m.address, fmt.Sprintf("127.0.0.1:%d", ports[3])
	m.listen = fmt.Sprintf("127.0.0.1:%d", ports[1])
	m.envoyAdmin = fmt.Sprintf("127.0.0.1:%d", ports[2])
	socket := filepath.Join(folder, "extauthz.sock")
	certificates, backendCertificates := filepath.Join(folder, "tls"), filepath.Join(folder, "backend-tls")
	switch sample {
	case "unix-socket.yaml":
		m.listen = "unix://" + socket
	case "tracing.yaml":
		collector := startCollector(t)
		m.collector = collector
		settings = append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + collector.address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=50"}, settings...)
	case "mtls.yaml":
		m.url = "https://" + m.address
		writeCertificate(t, certificates, "127.0.0.1", "envoy.example.com", "extauthz.example.com")
		settings = append([]string{"EXTAUTHZ_TLS_CERT_FILE=" + certificates + "/tls.crt", "EXTAUTHZ_TLS_KEY_FILE=" + certificates + "/tls.key",
			"EXTAUTHZ_TLS_CLIENT_CA_FILE=" + certificates + "/ca.crt", "EXTAUTHZ_TLS_CLIENT_NAMES=envoy.example.com"}, settings...)
		m.startEncryptedBackend(t, backendCertificates)
	}
	t.Cleanup(func() { m.checkLogs(t) })
	m.settings = append([]string{
		"EXTAUTHZ_AUDIT_LOG=stdout", "EXTAUTHZ_LISTEN=" + m.listen, "BETTER_AUTH_URL=" + m.issuerURL, "BETTER_AUTH_SECRET=" + secret,
		"DATABASE_URL=" + m.reader, "EXTAUTHZ_LOG_LEVEL=debug",
	}, settings...)
	m.startExtauthz(t)

	content, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	collector := "port_value: 4317 "
	if m.collector != nil {
		collector = fmt.Sprintf("port_value: %d ", m.collector.port)
	}
	changed := strings.NewReplacer(
		"port_value: 4317 ", collector,
		"port_value: 8080 ", fmt.Sprintf("port_value: %d ", ports[0]),
		"port_value: 9191 ", fmt.Sprintf("port_value: %d ", ports[1]),
		"port_value: 8000 ", fmt.Sprintf("port_value: %d ", m.backendPort), parts.BackendSocket, m.backend,
		"port_value: 3000 ", fmt.Sprintf("port_value: %d ", m.issuerPort),
		"port_value: 9901 ", fmt.Sprintf("port_value: %d ", ports[2]),
		"/run/extauthz/extauthz.sock", socket, "./tls/", folder+"/",
	).Replace(change(string(content)))
	if sample == "mtls.yaml" {
		for _, name := range []string{"certificate.yaml", "authority.yaml", "backend-certificate.yaml", "backend-authority.yaml"} {
			secret, err := os.ReadFile("tls/" + name)
			if err != nil {
				t.Fatal(err)
			}
			secret = bytes.ReplaceAll(secret, []byte("/etc/envoy/tls"), []byte(certificates))
			secret = bytes.ReplaceAll(secret, []byte("/etc/envoy/backend-tls"), []byte(backendCertificates))
			if err := os.WriteFile(filepath.Join(folder, name), secret, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	config := filepath.Join(folder, "envoy.yaml")
	if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if m.envoy, err = m.installer.StartEnvoy(ctx, folder, version, config, m.address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.envoy.Stop() })
	eventually(t, "an answer of extauthz through Envoy", func() bool {
		return m.getOnce(t, "/api/me", nil).status == http.StatusUnauthorized
	})
	return m
}

// checkLogs wants none of the credentials that were sent in what extauthz has written, at the lowest level and in the audit log.
func (m *mesh) checkLogs(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(m.folder, "extauthz.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte(`"level":"DEBUG"`)) || !bytes.Contains(log, []byte(`"outcome":`)) {
		t.Error("the log shows no allowed check, or no audit record")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, credential := range append(m.sent, secret) {
		// A piece of it would be too much, too.
		for piece := range strings.FieldsFuncSeq(credential, func(r rune) bool { return strings.ContainsRune(". ;=%", r) }) {
			if len(piece) >= 24 && bytes.Contains(log, []byte(piece)) {
				t.Errorf("the log holds a piece of a credential: %s…", piece[:6])
			}
		}
	}
}

func (m *mesh) startExtauthz(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	if m.extauthz, err = parts.StartExtauthz(ctx, m.folder, m.binary, m.admin, m.settings...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.extauthz.Stop() })
	if err := m.extauthz.Await(ctx, parts.AnswersHTTP("http://"+m.admin+"/readyz", 200)); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   string
}

// get sends a GET with these headers; a value of several lines is sent as so many headers. It asks again after a 503,
// as send does.
func (m *mesh) get(t *testing.T, path string, header map[string]string) answer {
	t.Helper()
	return m.send(t, http.MethodGet, path, header, "")
}

// send asks until there is a verdict: a 503, which a busy machine may bring about, is nobody's. Its cause is printed.
// Tests that are about availability ask once, by sendOnce.
func (m *mesh) send(t *testing.T, method, path string, header map[string]string, body string) answer {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a := m.sendOnce(t, method, path, header, body)
		if a.status != http.StatusServiceUnavailable {
			return a
		}
		t.Logf("%s %s: 503 %q, asked again; %s", method, path, a.body, m.lastOutage())
		if time.Now().After(deadline) {
			t.Error("no verdict for 30 s")
			return a
		}
	}
}

// lastOutage is extauthz's own word on the last check that it could not make.
func (m *mesh) lastOutage() string {
	log, err := os.ReadFile(m.extauthz.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(log), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.Contains(line, `"msg":"not checked"`) {
			return line
		}
	}
	return "extauthz logged no outage, so Envoy did not reach it in time"
}

// getOnce is get without asking again.
func (m *mesh) getOnce(t *testing.T, path string, header map[string]string) answer {
	t.Helper()
	return m.sendOnce(t, http.MethodGet, path, header, "")
}

func (m *mesh) sendOnce(t *testing.T, method, path string, header map[string]string, body string) answer {
	t.Helper()
	m.mu.Lock()
	for _, name := range []string{"Authorization", "Cookie"} {
		if !slices.Contains(m.sent, header[name]) {
			m.sent = append(m.sent, header[name])
		}
	}
	m.mu.Unlock()
	return send(t, method, m.url+path, header, body)
}

func send(t *testing.T, method, target string, header map[string]string, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		for value := range strings.SplitSeq(values, "\n") {
			request.Header[name] = append(request.Header[name], value) // in the case that is given
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return answer{body: err.Error(), header: http.Header{}}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

// person is a user of Better Auth, signed up, with every credential that Better Auth gave out.
type person struct {
	id, name, email string
	jwt, raw        string
	cookie          string // name=value, as a browser sends it
	signed          string // the cookie's value, decoded
}

// signUp makes a user at the real Better Auth.
func (s *stack) signUp(t *testing.T, name string) person {
	t.Helper()
	p := person{name: name, email: fmt.Sprintf("user%d@example.com", time.Now().UnixNano())}
	body, err := json.Marshal(map[string]string{"name": name, "email": p.email, "password": "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	answer := send(t, "POST", s.issuerURL+"/api/auth/sign-up/email", map[string]string{"Content-Type": "application/json", "Origin": frontEnd}, string(body))
	var signUp struct {
		Token string
		User  struct{ ID string }
	}
	if err := json.Unmarshal([]byte(answer.body), &signUp); err != nil || answer.status != 200 {
		t.Fatalf("sign-up: %d %s", answer.status, answer.body)
	}
	p.id, p.raw = signUp.User.ID, signUp.Token
	for _, line := range answer.header.Values("Set-Cookie") {
		cookie, err := http.ParseSetCookie(line)
		if err == nil && cookie.Name == "better-auth.session_token" {
			p.cookie = cookie.Name + "=" + cookie.Value
			if p.signed, err = url.PathUnescape(cookie.Value); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.jwt = s.freshJWT(t, p)
	return p
}

// freshJWT has Better Auth issue another JWT for the person's session.
func (s *stack) freshJWT(t *testing.T, p person) string {
	t.Helper()
	answer := send(t, "GET", s.issuerURL+"/api/auth/token", map[string]string{"Cookie": p.cookie}, "")
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(answer.body), &token); err != nil || token.Token == "" {
		t.Fatalf("token: %d %s", answer.status, answer.body)
	}
	return token.Token
}

// execute changes Better Auth's database.
func (s *stack) execute(t *testing.T, statement string, arguments ...any) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), s.database)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	if _, err := connection.Exec(t.Context(), statement, arguments...); err != nil {
		t.Fatal(err)
	}
}

// signOut ends the person's session at Better Auth.
func (s *stack) signOut(t *testing.T, p person) {
	t.Helper()
	answer := send(t, "POST", s.issuerURL+"/api/auth/sign-out", map[string]string{"Cookie": p.cookie, "Origin": frontEnd, "Content-Type": "application/json"}, "{}")
	if answer.status != 200 {
		t.Fatalf("sign-out: %d %s", answer.status, answer.body)
	}
}

// serviceToken is what another service signs with the shared secret.
func (s *stack) serviceToken(t *testing.T, subject string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": s.issuerURL, "aud": audience, "sub": subject, "exp": time.Now().Unix() + 300})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// received is what the backend got, by its own account; a repeated header is an error.
func received(t *testing.T, a answer) map[string]string {
	t.Helper()
	var list [][2]string
	decoder := json.NewDecoder(bytes.NewReader([]byte(a.body)))
	if err := decoder.Decode(&list); err != nil || a.status != 200 {
		t.Fatalf("the backend's headers: %d %s", a.status, a.body)
	}
	headers := map[string]string{}
	for _, h := range list {
		if _, twice := headers[h[0]]; twice {
			t.Errorf("the backend got %s twice", h[0])
		}
		headers[h[0]] = h[1]
	}
	return headers
}

func itoa(number int) string { return fmt.Sprint(number) }
