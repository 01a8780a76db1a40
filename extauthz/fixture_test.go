package extauthz

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

const (
	testIssuer   = "https://app.example.com"
	testAudience = "https://api.example.com"
	testSecret   = "a-secret-of-more-than-32-characters!"
)

// testNow is the time at which credentials are judged in tests.
var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func fixedClock() time.Time { return testNow }

// in is a NumericDate so many seconds from testNow.
func in(seconds int) int64 { return testNow.Unix() + int64(seconds) }

// signer is a private key as an issuer has it, with what its JWKS says of it.
type signer struct {
	algorithm string
	id        string
	private   crypto.Signer
}

func (s signer) sign(message []byte) []byte {
	digest := func(h crypto.Hash) []byte {
		hash := h.New()
		hash.Write(message)
		return hash.Sum(nil)
	}
	must := func(signature []byte, err error) []byte {
		if err != nil {
			panic(err)
		}
		return signature
	}
	switch key := s.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, message)
	case *ecdsa.PrivateKey:
		hash := crypto.SHA256
		if key.Curve == elliptic.P521() {
			hash = crypto.SHA512
		}
		r, t, err := ecdsa.Sign(rand.Reader, key, digest(hash))
		if err != nil {
			panic(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), t.FillBytes(make([]byte, size))...)
	case *rsa.PrivateKey:
		if s.algorithm == "PS256" {
			return must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest(crypto.SHA256), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest(crypto.SHA256)))
	}
	panic("no such key")
}

var _ = sha512.New // linked for crypto.SHA512

// jwk is the public key as a JWKS lists it; changes are laid over it, nil removes a member.
func (s signer) jwk(changes map[string]any) map[string]any {
	jwk := map[string]any{"kid": s.id, "alg": s.algorithm}
	encode := base64.RawURLEncoding.EncodeToString
	switch public := s.private.Public().(type) {
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", encode(public)
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", public.Curve.Params().Name, encode(point[1:half+1]), encode(point[half+1:])
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	}
	for name, value := range changes {
		if value == nil {
			delete(jwk, name)
		} else {
			jwk[name] = value
		}
	}
	return jwk
}

// signers are made once; RSA keys take their time.
var signers = sync.OnceValue(func() map[string]signer {
	_, ed, err1 := ed25519.GenerateKey(rand.Reader)
	_, stranger, err2 := ed25519.GenerateKey(rand.Reader)
	p256, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err4 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err5 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rs, err6 := rsa.GenerateKey(rand.Reader, 2048)
	ps, err7 := rsa.GenerateKey(rand.Reader, 2048)
	weak, err8 := rsa.GenerateKey(rand.Reader, 1024)
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8} {
		if err != nil {
			panic(err)
		}
	}
	return map[string]signer{
		"ed":       {"EdDSA", "ed", ed},
		"stranger": {"EdDSA", "ed", stranger}, // claims the kid of another key
		"es256":    {"ES256", "es256", p256},
		"es384":    {"ES384", "es384", p384},
		"es512":    {"ES512", "es512", p521},
		"rs":       {"RS256", "rs", rs},
		"ps":       {"PS256", "ps", ps},
		"weak":     {"RS256", "weak", weak},
	}
})

// testKeys is the JWKS of most tests: one good key of each algorithm, and bad company.
func testKeys() []map[string]any {
	s := signers()
	encryption, noAlg, oddAlg := s["ed"], s["rs"], s["es256"]
	return []map[string]any{
		s["ed"].jwk(nil), s["es256"].jwk(nil), s["es512"].jwk(nil), s["rs"].jwk(nil), s["ps"].jwk(nil),
		s["weak"].jwk(nil), s["es384"].jwk(nil),
		encryption.jwk(map[string]any{"kid": "encryption", "use": "enc"}),
		encryption.jwk(map[string]any{"kid": "signing-only", "key_ops": []string{"sign"}}),
		noAlg.jwk(map[string]any{"kid": "rs-without-alg", "alg": nil}),
		encryption.jwk(map[string]any{"kid": "ed-without-alg", "alg": nil, "use": "sig", "key_ops": []string{"verify"}}),
		oddAlg.jwk(map[string]any{"kid": "odd-alg", "alg": "RS256"}),
		encryption.jwk(map[string]any{"kid": "published-private", "d": base64.RawURLEncoding.EncodeToString(encryption.private.(ed25519.PrivateKey).Seed())}),
		{"kid": "shared", "kty": "oct", "alg": "HS256", "k": base64.RawURLEncoding.EncodeToString([]byte(testSecret))},
		{"kid": "broken", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "alg": "ES256"},
		{"kty": "OKP", "crv": "Ed25519", "x": s["ed"].jwk(nil)["x"]}, // no kid
	}
}

// object is JSON in the order given, so that tests can repeat names and misplace types.
func object(members ...string) string { return "{" + strings.Join(members, ",") + "}" }

func member(name string, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%q:%s", name, text)
}

// goodClaims are claims that pass, with changes laid over them; nil removes a claim.
func goodClaims(changes map[string]any) string {
	claims := map[string]any{
		"iss": testIssuer, "aud": testAudience, "sub": "user-1", "iat": in(-10), "exp": in(900),
		"email": "zoe@example.com", "name": "Zoë Day", "emailVerified": true, "image": nil, "id": "user-1",
	}
	for name, value := range changes {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func encodeSegment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// jwtOf signs header and payload as they are.
func jwtOf(header, payload string, sign func([]byte) []byte) string {
	signed := encodeSegment(header) + "." + encodeSegment(payload)
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(signed)))
}

// issue makes a token as Better Auth does: header alg and kid, claims as given.
func (s signer) issue(claims string) string {
	return jwtOf(object(member("alg", s.algorithm), member("kid", s.id)), claims, s.sign)
}

func hs256(claims string) string {
	return jwtOf(object(member("alg", "HS256")), claims, hmacOf(testSecret))
}

func hmacOf(key string) func([]byte) []byte {
	return func(message []byte) []byte {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(message)
		return mac.Sum(nil)
	}
}

// signedSession is a session token as Better Auth puts it into a cookie, before percent-encoding.
func signedSession(token, key string) string {
	return token + "." + base64.StdEncoding.EncodeToString(hmacOf(key)([]byte(token)))
}

// serveKeys is an issuer's JWKS endpoint. The real Better Auth is in the end-to-end tests; what it
// never publishes (weak keys, nonsense) must come from here.
func serveKeys(t testing.TB, keys []map[string]any) *httptest.Server {
	t.Helper()
	document, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(document) }))
	t.Cleanup(server.Close)
	return server
}

// startAuthorizer makes an Authorizer, runs it for the test's time and waits until it is ready.
func startAuthorizer(t testing.TB, config Config) *Authorizer {
	t.Helper()
	a := runAuthorizer(t, config)
	deadline := time.Now().Add(2 * time.Minute)
	for len(a.Missing()) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", a.Missing())
		}
		time.Sleep(2 * time.Millisecond)
	}
	return a
}

func runAuthorizer(t testing.TB, config Config) *Authorizer {
	t.Helper()
	if config.Issuer == "" && config.Several == nil {
		config.Issuer = testIssuer
	}
	if config.Audiences == nil && config.Several == nil {
		config.Audiences = []string{"https://other.example.com", testAudience}
	}
	if config.Now == nil {
		config.Now = fixedClock
	}
	if config.Logger == nil {
		config.Logger = slog.New(outages)
	}
	if config.budget == 0 {
		config.budget = time.Minute
		if config.refill == 0 {
			config.refill = time.Millisecond
		}
	}
	if reader, ok := readers.Load(config.DatabaseURL); ok {
		config.DatabaseURL = reader.(string)
	}
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return a
}

// reasonOf is the reason of a denial, empty for none.
func reasonOf(err error) Reason {
	if denial, ok := errors.AsType[*Denial](err); ok {
		return denial.Reason()
	}
	return ""
}

// header is one header of a request.
type header struct{ name, value string }

// wire are the two ways in which Envoy sends headers.
var wire = map[string]func(method string, headers []header) *authv3.CheckRequest{
	"headers": func(method string, headers []header) *authv3.CheckRequest {
		joined := map[string]string{}
		for _, h := range headers {
			if earlier, repeated := joined[h.name]; repeated {
				h.value = earlier + "," + h.value // Cookie too
			}
			joined[h.name] = h.value
		}
		return checkRequest(&authv3.AttributeContext_HttpRequest{Method: method, Headers: joined})
	},
	"header_map": func(method string, headers []header) *authv3.CheckRequest {
		list := &corev3.HeaderMap{}
		for _, h := range headers {
			list.Headers = append(list.Headers, &corev3.HeaderValue{Key: h.name, RawValue: []byte(h.value)})
		}
		return checkRequest(&authv3.AttributeContext_HttpRequest{Method: method, HeaderMap: list})
	},
}

func checkRequest(http *authv3.AttributeContext_HttpRequest) *authv3.CheckRequest {
	http.Host, http.Scheme, http.Path = "api.example.com", "https", "/api/me?secret=in-the-query"
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "192.0.2.7"}}}},
		Request: &authv3.AttributeContext_Request{Http: http},
	}}
}

func bearerRequest(token string) *authv3.CheckRequest {
	return wire["headers"]("GET", []header{{"authorization", "Bearer " + token}})
}

// PostgreSQL, one server for all tests of the package, started when the first one asks.

var testServer struct {
	once   sync.Once
	server *parts.Postgres
	folder string
	err    error
}

func TestMain(m *testing.M) {
	// Tests that run side by side wait for other programs or for a deadline, and compute little. A flag goes before this.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	code := m.Run()
	if testServer.server != nil {
		testServer.server.Stop()
	}
	os.RemoveAll(testServer.folder)
	os.Exit(code)
}

func startPostgres(t testing.TB) *parts.Postgres {
	t.Helper()
	testServer.once.Do(func() {
		testServer.folder, testServer.err = os.MkdirTemp("", "extauthz-postgres-")
		if testServer.err == nil {
			testServer.server, testServer.err = newPostgres(testServer.folder)
		}
	})
	if testServer.err != nil {
		t.Fatal(testServer.err)
	}
	return testServer.server
}

func newPostgres(folder string) (*parts.Postgres, error) {
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		return nil, err
	}
	port, err := parts.FreePort()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the first time it installs
	defer cancel()
	return installer.StartPostgres(ctx, folder, port)
}

var databases atomic.Int64 // made so far

// newDatabaseURL is an empty database of its own for the test.
func newDatabaseURL(t testing.TB, statements ...string) string {
	t.Helper()
	server := startPostgres(t)
	url, err := server.CreateDatabase(t.Context(), fmt.Sprintf("test_%d", databases.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	execute(t, url, statements...)
	return url
}

func execute(t testing.TB, url string, statements ...string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	for _, statement := range statements {
		if _, err := connection.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%v in: %s", err, statement)
		}
	}
}

// betterAuthTables is what Better Auth 1.7's own migrations create, as far as it matters.
const betterAuthTables = `
create table "user" ("id" text primary key, "name" text not null, "email" text not null unique, "emailVerified" boolean not null, "image" text,
  "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null default now());
create table "session" ("id" text primary key, "expiresAt" timestamptz not null, "token" text not null unique,
  "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null, "ipAddress" text, "userAgent" text,
  "userId" text not null references "user" ("id") on delete cascade);`

const (
	liveToken    = "LiveLiveLiveLiveLiveLiveLiveLive"
	expiredToken = "GoneGoneGoneGoneGoneGoneGoneGone"
	oddToken     = "OddIdOddIdOddIdOddIdOddIdOddIdOd"
	unknownToken = "NoneNoneNoneNoneNoneNoneNoneNone"
)

// liveSession makes Better Auth's tables with a live session in them.
func liveSession() []string {
	return []string{betterAuthTables, `insert into "user" ("id", "name", "email", "emailVerified") values ('user-2', 'Ana', 'ana@example.com', true)`,
		fmt.Sprintf(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") values ('s1', to_timestamp(%d), '%s', now(), 'user-2')`, in(3600), liveToken)}
}

// readers are the URLs by which an Authorizer connects to a database of sessionsDatabase: as the role of docs/reader.sql.
var readers sync.Map

// makingReader is held while a role is made: the server has one list of them for all databases.
var makingReader sync.Mutex

// sessionsDatabase holds a live session, an expired one, and one of a user whose id cannot be passed on. The URL is its owner's.
func sessionsDatabase(t testing.TB) string {
	owner := newDatabaseURL(t, append(liveSession(),
		`insert into "user" ("id", "name", "email", "emailVerified") values (E'user\r\n3', 'Odd', 'odd@example.com', true)`,
		fmt.Sprintf(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") values
			('s2', to_timestamp(%d), '%s', now(), 'user-2'), ('s3', to_timestamp(%d), '%s', now(), E'user\r\n3')`, in(-1), expiredToken, in(3600), oddToken))...)
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	makingReader.Lock()
	reader, err := installer.ReaderURL(t.Context(), owner)
	makingReader.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	readers.Store(owner, reader)
	return owner
}

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ io.Writer = (*lockedBuffer)(nil)
