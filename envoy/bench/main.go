// Command bench measures what a check costs, as ratios of servers that run side by side in one run.
// `make bench` runs it. Absolute figures are this machine's; the ratios are what travels.
package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

func main() {
	serve := flag.String("serve", "", "internal: be the server of this name")
	address := flag.String("address", "", "internal: the address to serve")
	only := flag.String("only", "", "one measurement alone (jwt, sessions, envoy, memory or cold), printed and not written to the page")
	flag.Parse()
	if *serve != "" {
		fmt.Fprintln(os.Stderr, runServer(*serve, *address))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only); err != nil {
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
	rows      []row
}

// row is one line of the report.
type row struct{ what, figure, bound string }

// note prints a figure and keeps it for the report.
func (b *bench) note(what, figure, bound string) {
	b.rows = append(b.rows, row{what, figure, bound})
	if bound != "" {
		bound = " (aim: " + bound + ")"
	}
	fmt.Printf("%s: %s%s\n", what, figure, bound)
}

// issuer signs tokens by the thousand, which Better Auth could, too, but not in a minute.
type issuer struct {
	url      string
	document string // its JWKS
	private  ed25519.PrivateKey
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
	return &issuer{"http://" + listener.Addr().String(), document, private}, nil
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

func run(ctx context.Context, only string) (err error) {
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
	known := false
	for _, m := range []struct {
		name    string
		measure func() error
	}{{"jwt", b.seenJWT}, {"sessions", b.sessions}, {"sessions", b.signOut}, {"envoy", b.throughEnvoy}, {"memory", b.million}, {"cold", b.cold}} {
		if only != "" && only != m.name {
			continue
		}
		known = true
		if err := m.measure(); err != nil {
			return err
		}
		b.stopAll()
	}
	switch {
	case !known:
		return fmt.Errorf("there is no measurement %q", only)
	case only != "":
		return nil
	}
	return b.report()
}

// stopAll ends the servers of one measurement, so that they do not share the machine with the next.
func (b *bench) stopAll() {
	for _, process := range b.running {
		process.Stop()
	}
	b.running = nil
}

func (b *bench) stop() {
	b.stopAll()
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

// compare drives the targets in turn, several rounds, and returns the best processor time and the best
// throughput of each.
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
			switch {
			case round == 0:
			case best[i].checks == 0:
				best[i] = r
			default: // a noisy neighbour may spoil a round's one figure and not the other
				best[i].cpu, best[i].seconds = min(best[i].cpu, r.cpu), min(best[i].seconds, r.seconds)
			}
		}
	}
	return best, nil
}

// seenJWT is the cost of a JWT that was seen before, against looking at nothing.
func (b *bench) seenJWT() error {
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
	b.noteTarget("JWT seen before, no-op server", r[0])
	b.noteTarget("JWT seen before, extauthz", r[1])
	b.note("CPU a check, JWT seen before ÷ no-op server", fmt.Sprintf("%.2f", r[1].microseconds()/r[0].microseconds()), "≤ 0.55")
	return nil
}

func (b *bench) noteTarget(what string, r result) {
	b.note(what, fmt.Sprintf("%.1f µs of CPU a check, %.0f checks/s", r.microseconds(), r.perSecond()), "")
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

// sessions is exact session checks, against one query a check and against looking at nothing.
func (b *bench) sessions() error {
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
	b.noteTarget("session, no-op server", r[0])
	b.noteTarget("session, one query a check", r[1])
	b.noteTarget("session, extauthz", r[2])
	b.note("session checks a second ÷ one query a check", fmt.Sprintf("%.2f", r[2].perSecond()/r[1].perSecond()), "≥ 2.2")
	b.note("CPU a session check ÷ no-op server", fmt.Sprintf("%.2f", r[2].microseconds()/r[0].microseconds()), "≤ 0.85")
	return nil
}

// signOut deletes sessions one by one while others are checked, and counts those that are still allowed afterwards.
func (b *bench) signOut() error {
	product, err := b.startExtauthz("extauthz-sign-out", "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	connection, err := pgx.Connect(b.ctx, b.database)
	if err != nil {
		return err
	}
	defer connection.Close(b.ctx)
	loaded := make([]message, 10_000)
	for i := range loaded {
		loaded[i] = encode(sessionToken(i), 0)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := drive(product.address, product.process.PID(), 60_000, 128, loaded)
		ended <- err
	}()
	const deleted = 300
	stillAllowed := 0
	for i := range deleted {
		token := sessionToken(benchSessions - 1 - i)
		one := []message{encode(token, 0)}
		if r, err := drive(product.address, product.process.PID(), 1, 1, one); err != nil || r.refused != 0 {
			return fmt.Errorf("a session was refused before it was deleted (%w)", err)
		}
		if _, err := connection.Exec(b.ctx, `delete from "session" where "token" = $1`, token); err != nil {
			return err
		}
		r, err := drive(product.address, product.process.PID(), 1, 1, one)
		if err != nil {
			return err
		}
		stillAllowed += 1 - r.refused
	}
	if err := <-ended; err != nil {
		return err
	}
	b.note("sessions deleted under load and still allowed", fmt.Sprintf("%d of %d", stillAllowed, deleted), "0 of 300")
	return nil
}

// million is what a million remembered tokens take, and whether a smaller bound holds.
func (b *bench) million() error {
	const tokens = 1_000_000
	product, err := b.startExtauthz("extauthz-million", "EXTAUTHZ_REMEMBERED_TOKENS=1100000", "EXTAUTHZ_REMEMBERED_MIB=704")
	if err != nil {
		return err
	}
	bounded, err := b.startExtauthz("extauthz-bounded", "EXTAUTHZ_REMEMBERED_MIB=64")
	if err != nil {
		return err
	}
	for _, t := range []target{product, bounded} {
		empty, err := residentMemory(t.process.PID())
		if err != nil {
			return err
		}
		const slice = 50_000 // a million encoded requests at once would need more memory than what is measured
		for from := 0; from < tokens; from += slice {
			if t.name == bounded.name && from >= 4*slice {
				break
			}
			messages := make([]message, slice)
			for i := range messages {
				messages[i] = encode(b.issuer.token(from+i), 0)
			}
			if _, err := drive(t.address, t.process.PID(), slice, 64, messages); err != nil {
				return err
			}
		}
		full, err := residentMemory(t.process.PID())
		if err != nil {
			return err
		}
		if t.name == product.name {
			b.note("resident memory for 1,000,000 remembered tokens, with the garbage collector's room", fmt.Sprintf("%.2f GiB, %d bytes a token", float64(full-empty)/(1<<30), (full-empty)/tokens), "≤ 1 GiB")
		} else {
			b.note("the same after 200,000 tokens, bounded to 64 MiB", fmt.Sprintf("%d MiB", (full-empty)>>20), "")
		}
	}
	return nil
}

// cold runs the Go benchmark that holds a check of a new token against its signature alone.
func (b *bench) cold() error {
	command := exec.CommandContext(b.ctx, "go", "test", "-run", "^$", "-bench", "ColdCheck", "-benchtime", "2s", "./extauthz")
	command.Dir = b.installer.Root()
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		for i, field := range fields {
			if field != "of-its-signature" {
				continue
			}
			algorithm, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "BenchmarkColdCheck/"), "-")
			bound := ""
			if algorithm == "EdDSA" {
				bound = "≤ 1.35"
			}
			b.note("cold check ÷ its signature alone, "+algorithm, fields[i-1], bound)
		}
	}
	return nil
}

// report writes docs/performance.md.
func (b *bench) report() error {
	var page strings.Builder
	fmt.Fprintf(&page, performancePage, runtime.NumCPU(), runtime.Version(), parts.EnvoyNewest)
	page.WriteString("| measured | figure | aim |\n|---|---|---|\n")
	for _, row := range b.rows {
		fmt.Fprintf(&page, "| %s | %s | %s |\n", row.what, row.figure, row.bound)
	}
	page.WriteString(performanceNotes)
	return os.WriteFile(filepath.Join(b.installer.Root(), "docs", "performance.md"), []byte(page.String()), 0o644)
}
