// Command bench measures what a check costs, as ratios of servers that run side by side in one run.
// `make bench` runs it. Absolute figures are this machine's; the ratios are what travels.
package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

func main() {
	serve := flag.String("serve", "", "internal: be the server of this name")
	address := flag.String("address", "", "internal: the address to serve")
	flag.Parse()
	if *serve != "" {
		fmt.Fprintln(os.Stderr, runServer(*serve, *address))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the measurements share.
type bench struct {
	ctx       context.Context
	installer *parts.Installer
	folder    string
	binary    string
	issuer    *issuer
	database  string
	postgres  *parts.Postgres
	running   []*parts.Process
}

// issuer signs tokens by the thousand, which Better Auth could, too, but not in a minute.
type issuer struct {
	url     string
	private ed25519.PrivateKey
}

const benchAudience = "http://api.example.com"

func newIssuer() (*issuer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	document := fmt.Sprintf(`{"keys":[{"kid":"key","kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, document) }))
	return &issuer{"http://" + listener.Addr().String(), private}, nil
}

// token is one as Better Auth issues it.
func (i *issuer) token(user int) string {
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"iss": i.url, "aud": benchAudience, "sub": fmt.Sprintf("user%028d", user), "iat": now, "exp": now + 7200,
		"id": fmt.Sprintf("user%028d", user), "email": fmt.Sprintf("user%d@example.com", user), "name": "Zoë Day", "emailVerified": true,
		"image": nil, "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
	})
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"EdDSA","kid":"key"}`)) + "." + encode(claims)
	return signed + "." + encode(ed25519.Sign(i.private, []byte(signed)))
}

func run(ctx context.Context) (err error) {
	b := &bench{ctx: ctx}
	if b.installer, err = parts.NewInstaller(os.Stdout); err != nil {
		return err
	}
	if b.folder, err = os.MkdirTemp("", "extauthz-bench-"); err != nil {
		return err
	}
	defer b.stop()
	if b.binary, err = b.installer.BuildExtauthz(b.folder); err != nil {
		return err
	}
	if b.issuer, err = newIssuer(); err != nil {
		return err
	}
	for _, measure := range []func() error{b.measureJWT, b.measureSessions} {
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) stop() {
	for _, process := range b.running {
		process.Stop()
	}
	if b.postgres != nil {
		b.postgres.Stop()
	}
	os.RemoveAll(b.folder)
}

// target is a server under measurement.
type target struct {
	name    string
	address string
	process *parts.Process
}

// startPeer starts this program again as one of its servers.
func (b *bench) startPeer(name string, env ...string) (target, error) {
	self, err := os.Executable()
	if err != nil {
		return target{}, err
	}
	port, err := parts.FreePort()
	if err != nil {
		return target{}, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	process, err := parts.Start(name, b.folder, env, exec.Command(self, "-serve", name, "-address", address))
	if err != nil {
		return target{}, err
	}
	b.running = append(b.running, process)
	return target{name, address, process}, process.Await(b.ctx, parts.AcceptsTCP(address))
}

// startExtauthz starts the product.
func (b *bench) startExtauthz(name string, env ...string) (target, error) {
	port, err := parts.FreePort()
	if err != nil {
		return target{}, err
	}
	adminPort, err := parts.FreePort()
	if err != nil {
		return target{}, err
	}
	folder := filepath.Join(b.folder, "run-"+name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return target{}, err
	}
	address, admin := fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", adminPort)
	env = append(env, "EXTAUTHZ_LISTEN="+address, "BETTER_AUTH_URL="+b.issuer.url, "API_AUDIENCE="+benchAudience)
	process, err := parts.StartExtauthz(b.ctx, folder, b.binary, admin, env...)
	if err != nil {
		return target{}, err
	}
	b.running = append(b.running, process)
	return target{name, address, process}, process.Await(b.ctx, parts.AnswersHTTP("http://"+admin+"/readyz", 200))
}

// compare drives the targets in turn, several rounds, and returns each one's best by processor time.
func compare(rounds, checks, inFlight int, messages []message, targets ...target) ([]result, error) {
	best := make([]result, len(targets))
	for round := range rounds + 1 { // the first warms up
		for i, target := range targets {
			r, err := drive(target.address, target.process.PID(), checks, inFlight, messages)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", target.name, err)
			}
			if r.refused > 0 {
				return nil, fmt.Errorf("%s refused %d of %d checks", target.name, r.refused, r.checks)
			}
			if round > 0 && (best[i].checks == 0 || r.microseconds() < best[i].microseconds()) {
				best[i] = r
			}
		}
	}
	return best, nil
}

// measureJWT is the cost of a JWT that was seen before, against looking at nothing.
func (b *bench) measureJWT() error {
	noOp, err := b.startPeer(serverNoOp)
	if err != nil {
		return err
	}
	product, err := b.startExtauthz("extauthz")
	if err != nil {
		return err
	}
	messages := make([]message, 1000)
	for i := range messages {
		messages[i] = encode(b.issuer.token(i), 0)
	}
	r, err := compare(4, 30_000, 64, messages, noOp, product)
	if err != nil {
		return err
	}
	fmt.Printf("JWT seen before: no-op %.1f µs, %.0f/s; extauthz %.1f µs, %.0f/s; ratio %.2f (want at most 0.55)\n",
		r[0].microseconds(), r[0].perSecond(), r[1].microseconds(), r[1].perSecond(), r[1].microseconds()/r[0].microseconds())
	return nil
}

const benchSessions = 100_000

func (b *bench) startDatabase() error {
	if b.postgres != nil {
		return nil
	}
	port, err := parts.FreePort()
	if err != nil {
		return err
	}
	if b.postgres, err = b.installer.StartPostgres(b.ctx, b.folder, port); err != nil {
		return err
	}
	if b.database, err = b.postgres.CreateDatabase(b.ctx, "app"); err != nil {
		return err
	}
	connection, err := pgx.Connect(b.ctx, b.database)
	if err != nil {
		return err
	}
	defer connection.Close(b.ctx)
	for _, statement := range []string{
		`create table "user" ("id" text primary key, "name" text not null, "email" text not null unique)`,
		`create table "session" ("id" text primary key, "expiresAt" timestamptz not null, "token" text not null unique, "userId" text not null references "user" ("id") on delete cascade)`,
		fmt.Sprintf(`insert into "user" select 'user' || i, 'Zoë Day', 'user' || i || '@example.com' from generate_series(0, %d) i`, benchSessions/10-1),
		fmt.Sprintf(`insert into "session" select 's' || i, now() + interval '1 day', lpad(i::text, 32, 'x'), 'user' || i %% %d from generate_series(0, %d) i`, benchSessions/10, benchSessions-1),
		`vacuum analyze`,
	} {
		if _, err := connection.Exec(b.ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func sessionToken(i int) string {
	number := fmt.Sprint(i)
	return strings.Repeat("x", 32-len(number)) + number
}

// measureSessions is exact session checks, against one query a check and against looking at nothing.
func (b *bench) measureSessions() error {
	if err := b.startDatabase(); err != nil {
		return err
	}
	noOp, err := b.startPeer(serverNoOp)
	if err != nil {
		return err
	}
	oneQuery, err := b.startPeer(serverOneQuery, "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	product, err := b.startExtauthz("extauthz-sessions", "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	messages := make([]message, benchSessions)
	for i := range messages {
		messages[i] = encode(sessionToken((i*7919)%benchSessions), 0)
	}
	r, err := compare(4, 30_000, 256, messages, noOp, oneQuery, product)
	if err != nil {
		return err
	}
	fmt.Printf("sessions: no-op %.1f µs; one query %.1f µs, %.0f/s; extauthz %.1f µs, %.0f/s; throughput ratio %.2f (want at least 2.2), CPU of the no-op's %.2f (want at most 0.85)\n",
		r[0].microseconds(), r[1].microseconds(), r[1].perSecond(), r[2].microseconds(), r[2].perSecond(),
		r[2].perSecond()/r[1].perSecond(), r[2].microseconds()/r[0].microseconds())
	return nil
}

// measureSignOut deletes sessions under load, and counts those that are still allowed afterwards.
func (b *bench) measureSignOut() error {
	return errors.ErrUnsupported
}
