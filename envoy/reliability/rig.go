package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

const (
	secret   = "the-reliability-runs-secret-of-many-characters"
	audience = "http://api.example.com"
)

// rig is what all faults and floods share: PostgreSQL behind a proxy that can be told to misbehave, Better Auth, a JWKS
// that can be, and extauthz.
type rig struct {
	ctx       context.Context
	installer *parts.Installer
	folder    string
	binary    string
	bounds    bounds

	postgres *parts.Postgres
	second   *parts.Postgres // what the first fails over to
	proxy    *proxy          // in front of PostgreSQL
	issuer   *issuer
	server   *server
	running  []*parts.Process
	people   []person
	expired  []string // tokens, for floods
	fresh    []string
}

// person is a user of Better Auth's, with what it gave out.
type person struct{ id, jwt, session, cookie string }

func newRig(ctx context.Context) (r *rig, err error) {
	r = &rig{ctx: ctx, bounds: measured}
	if r.installer, err = parts.NewInstaller(os.Stdout); err != nil {
		return nil, err
	}
	if r.folder, err = os.MkdirTemp("", "extauthz-reliability-"); err != nil {
		return nil, err
	}
	if r.binary, err = r.installer.BuildExtauthz(r.folder); err != nil {
		return r, err
	}
	if err := r.startDatabases(); err != nil {
		return r, err
	}
	if err := r.startIssuer(); err != nil {
		return r, err
	}
	if err := r.copyToSecond(); err != nil {
		return r, err
	}
	r.server, err = r.startServer("shared")
	return r, err
}

func (r *rig) stop() {
	for i := len(r.running) - 1; i >= 0; i-- {
		r.running[i].Stop()
	}
	for _, postgres := range []*parts.Postgres{r.postgres, r.second} {
		if postgres != nil {
			postgres.Stop()
		}
	}
	os.RemoveAll(r.folder)
}

func (r *rig) startDatabases() (err error) {
	for _, postgres := range []**parts.Postgres{&r.postgres, &r.second} {
		port, err := parts.FreePort()
		if err != nil {
			return err
		}
		folder := filepath.Join(r.folder, fmt.Sprint("postgres-", port))
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
		if *postgres, err = r.installer.StartPostgres(r.ctx, folder, port); err != nil {
			return err
		}
		if _, err := (*postgres).CreateDatabase(r.ctx, "app"); err != nil {
			return err
		}
	}
	r.proxy, err = r.startProxy(r.postgres.Port)
	return err
}

// databaseURL is what extauthz is given: through the proxy, as the role that may read and nothing else.
func (r *rig) databaseURL() string {
	return fmt.Sprintf("postgresql://%s@127.0.0.1:%d/app?sslmode=disable", parts.Reader, r.proxy.port)
}

// admitReader lets that role in.
func (r *rig) admitReader(postgres *parts.Postgres) error {
	_, err := r.installer.ReaderURL(r.ctx, postgres.URL("app"))
	return err
}

func execute(ctx context.Context, url string, statements ...string) error {
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	for _, statement := range statements {
		if _, err := connection.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// startIssuer runs Better Auth, has people sign up, and puts a JWKS in front of it that can fail.
func (r *rig) startIssuer() error {
	port, err := parts.FreePort()
	if err != nil {
		return err
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	process, err := r.installer.StartIssuer(r.ctx, r.folder, parts.IssuerSettings{
		Port: port, URL: base, Audience: audience, Secret: secret, DatabaseURL: r.postgres.URL("app"), TrustedOrigins: base,
	})
	if err != nil {
		return err
	}
	r.running = append(r.running, process)
	for i := range 3 {
		p, err := signUp(base, i)
		if err != nil {
			return err
		}
		r.people = append(r.people, p)
	}
	document, err := fetch(http.MethodGet, base+"/api/auth/jwks", "", nil)
	if err != nil {
		return err
	}
	if r.issuer, err = newIssuer(base, document.body); err != nil {
		return err
	}
	return r.admitReader(r.postgres)
}

// copyToSecond gives the second server what the first one has, as replication would.
func (r *rig) copyToSecond() error {
	statements := []string{
		`create table "user" ("id" text primary key, "name" text, "email" text)`,
		`create table "session" ("id" text primary key, "expiresAt" timestamptz not null, "token" text not null unique, "userId" text not null)`,
	}
	for i, p := range r.people {
		statements = append(statements, fmt.Sprintf(`insert into "user" values ('%s', 'Person', 'p%d@example.com')`, p.id, i),
			fmt.Sprintf(`insert into "session" values ('%d', now() + interval '1 day', '%s', '%s')`, i, p.session, p.id))
	}
	if err := execute(r.ctx, r.second.URL("app"), statements...); err != nil {
		return err
	}
	return r.admitReader(r.second)
}

type fetched struct {
	status int
	header http.Header
	body   []byte
}

func fetch(method, target, body string, header map[string]string) (fetched, error) {
	request, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		return fetched{}, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return fetched{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return fetched{response.StatusCode, response.Header, content}, err
}

func signUp(base string, number int) (p person, err error) {
	answer, err := fetch(http.MethodPost, base+"/api/auth/sign-up/email",
		fmt.Sprintf(`{"name":"Person","email":"p%d@example.com","password":"correct horse battery"}`, number),
		map[string]string{"Content-Type": "application/json", "Origin": base})
	if err != nil {
		return p, err
	}
	var made struct {
		Token string
		User  struct{ ID string }
	}
	if err := json.Unmarshal(answer.body, &made); err != nil || made.Token == "" {
		return p, fmt.Errorf("sign-up: %d %s", answer.status, answer.body)
	}
	p.id, p.session = made.User.ID, made.Token
	for _, line := range answer.header.Values("Set-Cookie") {
		if cookie, err := http.ParseSetCookie(line); err == nil && cookie.Name == "better-auth.session_token" {
			p.cookie = cookie.Name + "=" + cookie.Value
		}
	}
	return p, p.renew(base)
}

// renew has Better Auth issue the person another JWT; one lives for 15 minutes.
func (p *person) renew(base string) error {
	answer, err := fetch(http.MethodGet, base+"/api/auth/token", "", map[string]string{"Cookie": p.cookie})
	if err != nil {
		return err
	}
	var token struct{ Token string }
	if err := json.Unmarshal(answer.body, &token); err != nil || token.Token == "" {
		return fmt.Errorf("token: %d %s", answer.status, answer.body)
	}
	p.jwt = token.Token
	return nil
}

// issuer serves Better Auth's JWKS with a key of our own in it, so that tokens can be issued by the thousand, and can
// fail in the ways that issuers do.
type issuer struct {
	url        string // iss, Better Auth's own
	jwksURL    string
	betterAuth []json.RawMessage // its own keys
	other      []byte            // a JWKS without any of these keys
	stranger   *signer           // whose key is listed nowhere else
	signing    atomic.Pointer[signing]
	mode       atomic.Pointer[string]
	fetches    atomic.Int64
}

// signer is a key of ours.
type signer struct {
	id      string
	private ed25519.PrivateKey
}

func newSigner(id string) (*signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return &signer{id, private}, err
}

func (s *signer) jwk() json.RawMessage {
	public := base64.RawURLEncoding.EncodeToString(s.private.Public().(ed25519.PublicKey))
	return json.RawMessage(fmt.Sprintf(`{"kid":%q,"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":%q}`, s.id, public))
}

// signing is what tokens are signed with at a time. It is never changed, only replaced.
type signing struct {
	key, formerKey, withdrawnKey *signer // the former one is listed still; the last two are nil before there are such
	secret, formerSecret         string
	document                     []byte // the JWKS
}

func newIssuer(base string, document []byte) (*issuer, error) {
	i := &issuer{url: base}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, err
	}
	i.betterAuth = set.Keys
	var err error
	if i.stranger, err = newSigner("stranger"); err != nil {
		return nil, err
	}
	i.other = jwks(i.stranger.jwk())
	if err := i.rotateKey(); err != nil {
		return nil, err
	}
	i.rotateSecret(secret)
	i.set("well")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i.jwksURL = "http://" + listener.Addr().String() + "/api/auth/jwks"
	go http.Serve(listener, i)
	return i, nil
}

// jwks is the document that lists these keys.
func jwks(keys ...json.RawMessage) []byte {
	document, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err) // they were JSON a moment ago
	}
	return document
}

// rotateKey signs by a new key from now on, as Better Auth does when one is too old. The one before stays listed until
// the next rotation.
func (i *issuer) rotateKey() error {
	next := signing{}
	if now := i.signing.Load(); now != nil {
		next = *now
	}
	key, err := newSigner(fmt.Sprint("ours-", serial.Add(1)))
	if err != nil {
		return err
	}
	next.key, next.formerKey, next.withdrawnKey = key, next.key, next.formerKey
	listed := append(slices.Clone(i.betterAuth), key.jwk())
	if next.formerKey != nil {
		listed = append(listed, next.formerKey.jwk())
	}
	next.document = jwks(listed...)
	i.signing.Store(&next)
	return nil
}

// rotateSecret signs by another secret from now on.
func (i *issuer) rotateSecret(to string) {
	next := *i.signing.Load()
	next.secret, next.formerSecret = to, next.secret
	i.signing.Store(&next)
}

func (i *issuer) set(mode string) { i.mode.Store(&mode) }

// ServeHTTP answers as the mode says.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	count, whole := i.fetches.Add(1), i.signing.Load().document
	json := func(document []byte) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(document)
	}
	switch *i.mode.Load() {
	case "slow":
		time.Sleep(300 * time.Millisecond)
		json(whole)
	case "hanging":
		<-r.Context().Done()
	case "429":
		w.Header().Set("X-Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
	case "HTML":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>Sign in</title>")
	case "empty":
	case "100 MB":
		w.Header().Set("Content-Type", "application/json")
		piece := bytes.Repeat([]byte(" "), 1<<20)
		for range 100 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	case "truncated":
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		w.Write(whole[:len(whole)/2])
	case "of a wrong type":
		w.Header().Set("Content-Type", "image/png")
		fmt.Fprint(w, `["keys"]`)
	case "redirecting elsewhere":
		http.Redirect(w, r, "http://127.0.0.2:9/api/auth/jwks", http.StatusFound)
	case "alternating between two key sets":
		if count%2 == 0 {
			json(i.other)
		} else {
			json(whole)
		}
	default:
		json(whole)
	}
}

var serial atomic.Int64

// issue signs a token that was never seen before; changes go over the good claims. id is its kid.
func (i *issuer) issue(by *signer, id string, changes map[string]any) string {
	now := time.Now().Unix()
	claims := map[string]any{"iss": i.url, "aud": audience, "sub": "minted", "iat": now, "exp": now + 900,
		"jti": fmt.Sprint(serial.Add(1))}
	for name, value := range changes {
		claims[name] = value
	}
	return sign(fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, id), claims,
		func(signed []byte) []byte { return ed25519.Sign(by.private, signed) })
}

// issueCurrent is issue by the key in use.
func (i *issuer) issueCurrent(changes map[string]any) string {
	key := i.signing.Load().key
	return i.issue(key, key.id, changes)
}

// issueHS256 is what another service signs.
func (i *issuer) issueHS256(secret string) string {
	now := time.Now().Unix()
	return sign(`{"alg":"HS256"}`, map[string]any{"iss": i.url, "aud": audience, "sub": "billing", "exp": now + 900,
		"jti": fmt.Sprint(serial.Add(1))}, func(signed []byte) []byte {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(signed)
		return mac.Sum(nil)
	})
}

// issueCurrentHS256 is issueHS256 by the secret in use.
func (i *issuer) issueCurrentHS256() string { return i.issueHS256(i.signing.Load().secret) }

func sign(header string, claims map[string]any, sign func([]byte) []byte) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode(payload)
	return signed + "." + encode(sign([]byte(signed)))
}

// server is a running extauthz.
type server struct {
	*parts.Process
	checks, admin string
	folder        string
	settings      []string
}

func (r *rig) startServer(name string, settings ...string) (*server, error) {
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = parts.FreePort(); err != nil {
			return nil, err
		}
	}
	s := &server{checks: fmt.Sprintf("127.0.0.1:%d", ports[0]), admin: fmt.Sprintf("127.0.0.1:%d", ports[1]),
		folder: filepath.Join(r.folder, name)}
	if err := os.MkdirAll(s.folder, 0o755); err != nil {
		return nil, err
	}
	s.settings = append([]string{"EXTAUTHZ_LISTEN=" + s.checks, "BETTER_AUTH_URL=" + r.issuer.url,
		"JWKS_URL=" + r.issuer.jwksURL, "API_AUDIENCE=" + audience,
		"BETTER_AUTH_SECRET=" + secret, "DATABASE_URL=" + r.databaseURL(), "EXTAUTHZ_LOG_LEVEL=warn"}, settings...)
	return s, r.start(s)
}

func (r *rig) start(s *server) (err error) {
	if s.Process, err = parts.StartExtauthz(r.ctx, s.folder, r.binary, s.admin, s.settings...); err != nil {
		return err
	}
	r.running = append(r.running, s.Process)
	return s.Await(r.ctx, parts.AnswersHTTP("http://"+s.admin+"/readyz", 200))
}

// metric reads one of the server's own figures, summed over its labels that contain with.
func (s *server) metric(name, with string) float64 {
	answer, err := fetch(http.MethodGet, "http://"+s.admin+"/metrics", "", nil)
	if err != nil {
		return -1
	}
	sum := 0.0
	lines := bufio.NewScanner(bytes.NewReader(answer.body))
	for lines.Scan() {
		line := lines.Text()
		if rest, is := strings.CutPrefix(line, name); is && (strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "{")) &&
			strings.Contains(rest, with) {
			value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
			if err == nil {
				sum += value
			}
		}
	}
	return sum
}

// proxy is toxiproxy in front of PostgreSQL.
type proxy struct {
	port, api int
	upstream  string
}

const (
	toxiproxyModule  = "github.com/Shopify/toxiproxy/v2"
	toxiproxyVersion = "v2.5.0"
)

func (r *rig) startProxy(upstream int) (*proxy, error) {
	program, err := r.installer.GoProgram("toxiproxy", toxiproxyModule, toxiproxyVersion, "cmd/server")
	if err != nil {
		return nil, err
	}
	p := &proxy{upstream: fmt.Sprintf("127.0.0.1:%d", upstream)}
	if p.port, err = parts.FreePort(); err != nil {
		return nil, err
	}
	if p.api, err = parts.FreePort(); err != nil {
		return nil, err
	}
	process, err := parts.Start("toxiproxy", r.folder, nil,
		exec.Command(program, "-host", "127.0.0.1", "-port", strconv.Itoa(p.api)))
	if err != nil {
		return nil, err
	}
	r.running = append(r.running, process)
	if err := process.Await(r.ctx, parts.AnswersHTTP(p.url("/version"), 200)); err != nil {
		return nil, err
	}
	return p, p.call(http.MethodPost, "/proxies",
		map[string]any{"name": "postgres", "listen": fmt.Sprintf("127.0.0.1:%d", p.port), "upstream": p.upstream,
			"enabled": true})
}

func (p *proxy) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", p.api, path) }

func (p *proxy) call(method, path string, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	answer, err := fetch(method, p.url(path), string(body), map[string]string{"Content-Type": "application/json"})
	if err == nil && answer.status >= 300 {
		err = fmt.Errorf("toxiproxy: %s %s: %d %s", method, path, answer.status, answer.body)
	}
	return err
}

// poison makes the proxy misbehave in one of its ways, in the stream from PostgreSQL.
func (p *proxy) poison(kind string, attributes map[string]any) error {
	return p.call(http.MethodPost, "/proxies/postgres/toxics",
		map[string]any{"name": "toxic", "type": kind, "stream": "downstream", "attributes": attributes})
}

func (p *proxy) heal() error { return p.call(http.MethodDelete, "/proxies/postgres/toxics/toxic", nil) }

// set turns the proxy off and on, or points it elsewhere; connections through it end.
func (p *proxy) set(enabled bool, upstream string) error {
	return p.call(http.MethodPost, "/proxies/postgres", map[string]any{"enabled": enabled, "upstream": upstream})
}

// cookieToken is the value of a cookie, decoded.
func cookieToken(cookie string) string {
	_, value, _ := strings.Cut(cookie, "=")
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return value
	}
	return decoded
}
