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
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"extauthz/envoy/parts"
)

func main() {
	serve := flag.String("serve", "", "internal: be the server of this name")
	address := flag.String("address", "", "internal: the address to serve")
	only := flag.String("only", "",
		"one measurement alone, printed and not written to the page: "+strings.Join(measurementNames(), ", "))
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
	ratios    map[string]float64 // by a short name, for the pages' words
	plots     []*plot
	costs     costs
}

// costs are what the capacity page reckons with.
type costs struct {
	noOp, jwt, oneQuery, session result
	envoy                        float64 // µs of Envoy's CPU a request that asking adds
	token                        int     // bytes that a remembered token takes
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

// ratio is note for one, which the pages refer to by its key.
func (b *bench) ratio(key, what string, value float64, bound string) {
	b.ratios[key] = value
	b.note(what, fmt.Sprintf("%.2f", value), bound)
}

// issuer signs tokens by the thousand, which Better Auth could, too, but not in a minute.
type issuer struct {
	url      string
	document string // its JWKS
	keys     []ed25519.PrivateKey
}

const benchAudience = "http://api.example.com"

func newIssuer(keys int) (*issuer, error) {
	i := &issuer{keys: make([]ed25519.PrivateKey, keys)}
	var listed []string
	for n := range i.keys {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		i.keys[n] = private
		listed = append(listed, fmt.Sprintf(`{"kid":"key-%d","kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":%q}`, n,
			base64.RawURLEncoding.EncodeToString(public)))
	}
	i.document = `{"keys":[` + strings.Join(listed, ",") + `]}`
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i.url = "http://" + listener.Addr().String()
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, i.document)
	}))
	return i, nil
}

// token is one as Better Auth issues it, with the user's columns in it.
func (i *issuer) token(user int) string {
	return i.sign(user, map[string]any{
		"id": fmt.Sprintf("user%028d", user), "email": fmt.Sprintf("user%d@example.com", user), "name": "Zoë Day",
		"emailVerified": true,
		"image":         nil, "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
	})
}

// shortToken is one as Better Auth issues it where definePayload leaves the user's columns out.
func (i *issuer) shortToken(user int) string { return i.sign(user, map[string]any{}) }

func (i *issuer) sign(user int, claims map[string]any) string {
	now, key := time.Now().Unix(), user%len(i.keys)
	claims["iss"], claims["aud"], claims["sub"] = i.url, benchAudience, fmt.Sprintf("user%028d", user)
	claims["iat"], claims["exp"] = now, now+7200
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(fmt.Appendf(nil, `{"alg":"EdDSA","kid":"key-%d"}`, key)) + "." + encode(payload)
	return signed + "." + encode(ed25519.Sign(i.keys[key], []byte(signed)))
}

// measurement is one of the things that are measured.
type measurement struct {
	name    string
	measure func(*bench) error
}

func measurements() []measurement {
	return []measurement{
		{"jwt", (*bench).seenJWT}, {"sessions", (*bench).sessions}, {"sessions", (*bench).signOut}, {"facts", (*bench).facts},
		{"peers", (*bench).peers}, {"envoy", (*bench).throughEnvoy},
		{"cold", (*bench).cold}, {"refused", (*bench).refused}, {"in-flight", (*bench).inFlight},
		{"headers", (*bench).headerBytes}, {"keys", (*bench).keysInTheSet},
		{"tokens", (*bench).distinctTokens}, {"stored", (*bench).sessionsStored}, {"tuning", (*bench).tuning},
	}
}

func measurementNames() (names []string) {
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	return slices.Compact(names)
}

func run(ctx context.Context, only string) (err error) {
	b := &bench{ctx: ctx, ratios: map[string]float64{}}
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
	if b.issuer, err = newIssuer(1); err != nil {
		return err
	}
	known := false
	for _, m := range measurements() {
		if only != "" && only != m.name {
			continue
		}
		known = true
		if err := m.measure(b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		b.stopAll()
	}
	switch {
	case !known:
		return fmt.Errorf("there is no measurement %q; there are %s", only, strings.Join(measurementNames(), ", "))
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
	name     string
	address  string
	process  *parts.Process
	database int // the pid of the PostgreSQL that it asks, if its cost is to be told, too
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
	return target{name: name, address: address, process: process}, process.Await(b.ctx, parts.AcceptsTCP(address))
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
	return target{name: name, address: address, process: process},
		process.Await(b.ctx, parts.AnswersHTTP("http://"+admin+"/readyz", 200))
}

// compare drives the targets in turn, several rounds, and returns the best processor time and the best
// throughput of each.
func compare(rounds, checks, inFlight int, messages []message, targets ...target) ([]result, error) {
	best := make([]result, len(targets))
	for round := range rounds + 1 { // the first warms up
		for i, target := range targets {
			r, err := drive(target, checks, inFlight, messages)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", target.name, err)
			}
			if r.refused > 0 {
				return nil, fmt.Errorf("%s refused %d of %d checks; the end of its log:\n%s", target.name, r.refused, r.checks,
					target.process.LogEnd())
			}
			if round > 0 {
				best[i].keepBest(r)
			}
		}
	}
	return best, nil
}

// buildWithWorkers compiles the product with another number of streamWorkers.
func (b *bench) buildWithWorkers(count string) (string, error) {
	file := filepath.Join(b.installer.Root(), "extauthz", "server.go")
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	constant := regexp.MustCompile(`(?m)^const streamWorkers = \d+$`)
	if !constant.Match(source) {
		return "", errors.New("extauthz/server.go has no streamWorkers any more")
	}
	changed := filepath.Join(b.folder, "wire-"+count+".go")
	if err := os.WriteFile(changed, constant.ReplaceAll(source, []byte("const streamWorkers = "+count)),
		0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
	if err != nil {
		return "", err
	}
	overlayFile, binary := filepath.Join(b.folder, "overlay.json"), filepath.Join(b.folder, "extauthz-"+count)
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return "", err
	}
	command := exec.CommandContext(b.ctx, "go", "build", "-overlay", overlayFile, "-o", binary, "./cmd/extauthz")
	command.Dir = b.installer.Root()
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return binary, nil
}
