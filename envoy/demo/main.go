// Command demo starts a real Better Auth, PostgreSQL, FastAPI backend and Envoy around extauthz, on this
// machine's loopback, and shows what each kind of credential gets. `make demo` runs it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"extauthz/envoy/parts"
)

// The demo's addresses; envoy.yaml beside this file has them too.
const (
	envoyAddress    = "127.0.0.1:8080"
	checksAddress   = "127.0.0.1:9191"
	adminAddress    = "127.0.0.1:9192"
	envoyAdmin      = "127.0.0.1:9901"
	issuerPort      = 3000
	backendPort     = 8000
	issuerURL       = "http://localhost:3000" // extauthz's default
	audience        = "http://127.0.0.1:8000" // extauthz's default
	publicURL       = "http://localhost:8080"
	trustedOrigins  = "http://localhost:8080,http://127.0.0.1:8080"
	patienceOfParts = 2 * time.Minute
)

func main() {
	checkOnly := flag.Bool("check", false, "run it through once and exit, with status 1 when an answer is wrong")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *checkOnly); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, checkOnly bool) error {
	installer, err := parts.NewInstaller(os.Stdout)
	if err != nil {
		return err
	}
	if err := installer.All(parts.EnvoyNewest); err != nil {
		return err
	}
	d := &demo{installer: installer}
	defer d.stop()
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // the user's own wish
		}
		return err
	}
	if err := d.show(ctx); err != nil {
		return err
	}
	if checkOnly {
		return nil
	}
	d.printWhatToTry(ctx)
	return d.wait(ctx)
}

// demo is all that runs.
type demo struct {
	installer *parts.Installer
	folder    string // files and logs, gone afterwards
	binary    string
	database  string // Better Auth's connection string
	reader    string // extauthz's, whose role may read and nothing else
	secret    string
	postgres  *parts.Postgres
	running   []*parts.Process // in the order of their start, without PostgreSQL
}

// start brings the parts up one after another, with a line for each.
func (d *demo) start(ctx context.Context) (err error) {
	for _, address := range []string{envoyAddress, checksAddress, adminAddress, envoyAdmin, fmt.Sprintf("127.0.0.1:%d", issuerPort), fmt.Sprintf("127.0.0.1:%d", backendPort)} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("the demo needs %s, which is taken; stop what listens there (%w)", address, err)
		}
		listener.Close()
	}
	if d.folder, err = os.MkdirTemp("", "extauthz-demo-"); err != nil {
		return err
	}
	random := make([]byte, 24)
	rand.Read(random)
	d.secret = fmt.Sprintf("%x", random)
	ctx, cancel := context.WithTimeout(ctx, patienceOfParts)
	defer cancel()

	step := func(what string, start func() error) {
		if err != nil {
			return
		}
		began := time.Now()
		fmt.Printf("  %-48s ", what)
		if err = start(); err != nil {
			fmt.Println("failed")
			return
		}
		fmt.Printf("ready in %.1f s\n", time.Since(began).Seconds())
	}
	keep := func(process *parts.Process, err error) error {
		if process != nil {
			d.running = append(d.running, process)
		}
		return err
	}
	fmt.Println("starting:")
	step("extauthz, compiled", func() (err error) {
		bin := filepath.Join(d.installer.Root(), ".parts", "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			return err
		}
		d.binary, err = d.installer.BuildExtauthz(bin)
		return err
	})
	step("PostgreSQL", func() (err error) {
		port, err := parts.FreePort()
		if err != nil {
			return err
		}
		if d.postgres, err = d.installer.StartPostgres(ctx, d.folder, port); err != nil {
			return err
		}
		d.database, err = d.postgres.CreateDatabase(ctx, "app")
		return err
	})
	step("Better Auth, its tables created", func() (err error) {
		err = keep(d.installer.StartIssuer(ctx, d.folder, parts.IssuerSettings{
			Port: issuerPort, URL: issuerURL, Audience: audience, Secret: d.secret, DatabaseURL: d.database, TrustedOrigins: trustedOrigins,
		}))
		if err == nil {
			d.reader, err = d.installer.ReaderURL(ctx, d.database)
		}
		return err
	})
	step("FastAPI backend, for Envoy's address only", func() error {
		return keep(d.installer.StartBackend(ctx, d.folder, backendPort))
	})
	step("extauthz", func() error {
		process, err := parts.StartExtauthz(ctx, d.folder, d.binary, adminAddress, d.settings()...)
		if err := keep(process, err); err != nil {
			return err
		}
		return process.Await(ctx, parts.AnswersHTTP("http://"+adminAddress+"/readyz", 200))
	})
	step("Envoy "+parts.EnvoyNewest, func() error {
		config := filepath.Join(d.installer.Root(), "envoy", "demo", "envoy.yaml")
		process, err := d.installer.StartEnvoy(ctx, d.folder, parts.EnvoyNewest, config, envoyAddress)
		if err := keep(process, err); err != nil {
			return err
		}
		return process.Await(ctx, parts.AnswersHTTP("http://"+envoyAddress+"/api/me", 401))
	})
	return err
}

// settings are what extauthz needs to be told; issuer and audience are its defaults.
func (d *demo) settings() []string {
	return []string{"BETTER_AUTH_SECRET=" + d.secret, "DATABASE_URL=" + d.reader, "EXTAUTHZ_LOG_LEVEL=debug", "EXTAUTHZ_ADMIN_PAGE=true"}
}

func (d *demo) stop() {
	for i := len(d.running) - 1; i >= 0; i-- {
		d.running[i].Stop()
	}
	if d.postgres != nil && d.postgres.Process != nil {
		d.postgres.Stop()
	}
	if d.folder != "" {
		os.RemoveAll(d.folder)
	}
}

// wait stays until the user ends the demo or a part dies.
func (d *demo) wait(ctx context.Context) error {
	died := make(chan *parts.Process, len(d.running)+1)
	for _, process := range append(d.running, d.postgres.Process) {
		go func() {
			<-process.Done()
			died <- process
		}()
	}
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping everything")
		return nil
	case process := <-died:
		return fmt.Errorf("%s has ended; the end of its log:\n%s", process.Name, process.LogEnd())
	}
}

func (d *demo) printWhatToTry(ctx context.Context) {
	user, err := signIn(ctx)
	if err != nil {
		fmt.Println("signing in again:", err)
		return
	}
	exports := make([]string, 0, 2)
	for _, setting := range d.settings()[:2] {
		name, value, _ := strings.Cut(setting, "=")
		exports = append(exports, name+"='"+value+"'")
	}
	fmt.Printf(`
It stays up; Ctrl-C ends all of it. %s is signed in again. To try by hand:

  JWT=%s
  SESSION=%s
  curl -i %s/api/me -H "Authorization: Bearer $JWT"
  curl -i %s/api/me -H "Authorization: Bearer $SESSION"
  curl -s %s/api/headers -H "Authorization: Bearer $SESSION" -H 'x-user-id: admin'
  curl -s http://%s/metrics | grep extauthz
  open http://%s in a browser: what was decided, and an explainer
  %s \
    .parts/bin/extauthz doctor --token $SESSION --envoy http://127.0.0.1:9901 --url http://localhost:8080/api/me

logs: %s/*.log
`, user.email, user.jwt, user.raw, publicURL, publicURL, publicURL, adminAddress, adminAddress, strings.Join(exports, " "), d.folder)
}

// errWrongAnswer means that the demo ran and showed something that is not right.
var errWrongAnswer = errors.New("an answer is not what it should be")
