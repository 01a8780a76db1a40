package meshtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

const (
	issuer   = "https://app.example.com" // as in ../base
	audience = "https://api.example.com"
	session  = "LiveLiveLiveLiveLiveLiveLiveLive"
)

// stack is what all tests share: PostgreSQL with one session, an issuer's keys, extauthz, and a backend that tells what it got.
type stack struct {
	installer *parts.Installer
	folder    string
	postgres  *parts.Postgres
	settings  []string
	binary    string
	jwks      *httptest.Server
	backend   *httptest.Server
	private   ed25519.PrivateKey
}

var shared struct {
	once  sync.Once
	stack *stack
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if s := shared.stack; s != nil {
		s.stop()
	}
	os.Exit(code)
}

func (s *stack) stop() {
	if s.postgres != nil {
		s.postgres.Stop()
	}
	if s.backend != nil {
		s.backend.Close()
		s.jwks.Close()
	}
	os.RemoveAll(s.folder)
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
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute) // the first time it installs
	defer cancel()
	s = &stack{}
	if s.installer, err = parts.NewInstallerAt(filepath.Join("..", ".."), os.Stderr); err != nil {
		return s, err
	}
	if s.folder, err = os.MkdirTemp("", "extauthz-mesh-"); err != nil {
		return s, err
	}
	if s.binary, err = s.installer.BuildExtauthz(s.folder); err != nil {
		return s, err
	}
	port, err := parts.FreePort()
	if err != nil {
		return s, err
	}
	if s.postgres, err = s.installer.StartPostgres(ctx, s.folder, port); err != nil {
		return s, err
	}
	owner, err := s.postgres.CreateDatabase(ctx, "app")
	if err != nil {
		return s, err
	}
	connection, err := pgx.Connect(ctx, owner)
	if err != nil {
		return s, err
	}
	defer connection.Close(ctx)
	if _, err := connection.Exec(ctx, `create table "user" ("id" text primary key, "name" text, "email" text);
		create table "session" ("id" text primary key, "expiresAt" timestamptz not null, "token" text not null unique, "userId" text not null);
		insert into "user" values ('session-user', 'Ana', 'ana@example.com');
		insert into "session" values ('1', now() + interval '1 day', '`+session+`', 'session-user')`); err != nil {
		return s, err
	}
	reader, err := s.installer.ReaderURL(ctx, owner)
	if err != nil {
		return s, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return s, err
	}
	s.private = private
	s.jwks = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kid":"k","kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	}))
	s.backend = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string][]string(r.Header))
	}))
	s.settings = []string{"BETTER_AUTH_URL=" + issuer, "API_AUDIENCE=" + audience, "JWKS_URL=" + s.jwks.URL, "DATABASE_URL=" + reader, "EXTAUTHZ_LOG_LEVEL=debug"}
	return s, nil
}

// token is a JWT of the issuer's.
func (s *stack) token(t *testing.T) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": issuer, "aud": audience, "sub": "jwt-user", "exp": time.Now().Unix() + 600})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"EdDSA","kid":"k"}`)) + "." + encode(claims)
	return signed + "." + encode(ed25519.Sign(s.private, []byte(signed)))
}

// startExtauthz runs the product and returns where it takes checks.
func (s *stack) startExtauthz(t *testing.T, settings ...string) (*parts.Process, string) {
	t.Helper()
	listen, admin := freeAddress(t), freeAddress(t)
	process, err := parts.StartExtauthz(t.Context(), t.TempDir(), s.binary, admin, append(append([]string{"EXTAUTHZ_LISTEN=" + listen}, s.settings...), settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := process.Await(ctx, parts.AnswersHTTP("http://"+admin+"/readyz", 200)); err != nil {
		t.Fatal(err)
	}
	return process, listen
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func portOf(address string) (port uint32) {
	_, text, err := net.SplitHostPort(address)
	if err == nil {
		_, err = fmt.Sscan(text, &port)
	}
	if err != nil {
		panic(address)
	}
	return port
}

// answer is what a client gets; received are the headers by the backend's own account.
type answer struct {
	status   int
	header   http.Header
	body     string
	received http.Header
}

// get asks until there is a verdict: a 503, which a busy machine may bring about, is nobody's. Where an outage is
// what is wanted, getOnce asks.
func get(t *testing.T, url string, headers ...string) answer {
	t.Helper()
	return verdict(t, http.MethodGet, url, headers...)
}

// verdict is get with a method.
func verdict(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a := request(t, method, url, headers...)
		if a.status != http.StatusServiceUnavailable {
			return a
		}
		t.Logf("%s: 503 %q, asked again", url, a.body)
		if time.Now().After(deadline) {
			t.Error("no verdict for 20 s")
			return a
		}
	}
}

func getOnce(t *testing.T, url string, headers ...string) answer {
	t.Helper()
	return request(t, http.MethodGet, url, headers...)
}

// request asks once, and follows no redirect.
func request(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "shop.example.com"
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header[name] = append(request.Header[name], value)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, body: string(body), header: response.Header}
	if a.status == http.StatusOK && len(body) > 0 { // Envoy's own answer to a preflight is empty
		if err := json.Unmarshal(body, &a.received); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
	}
	return a
}
