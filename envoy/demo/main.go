// Command demo starts a real Better Auth, PostgreSQL, FastAPI backend and Envoy around extauthz, on this
// machine's loopback, and shows what each kind of credential gets. `make demo` runs it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"extauthz/envoy/parts"
)

const (
	audience        = "http://127.0.0.1:8000" // extauthz's default
	patienceOfParts = 2 * time.Minute
)

func main() {
	var o options
	flag.BoolVar(&o.check, "check", false, "run it through once and exit, with status 1 when an answer is wrong")
	flag.BoolVar(&o.web, "web", false, "Better Auth in its Next.js front end, with pages to use in a browser")
	flag.BoolVar(&o.tls, "tls", false, "https, by an authority made on the spot")
	flag.BoolVar(&o.test, "test", false, "try the front end in a real browser, and exit")
	flag.StringVar(&o.only, "only", "", "of the browser's tests, those whose names match this")
	flag.BoolVar(&o.freePorts, "free-ports", false, "on whatever ports are free, for tests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	check, web, tls, test, freePorts bool
	only                             string
}

func run(ctx context.Context, o options) error {
	installer, err := parts.NewInstaller(os.Stdout)
	if err != nil {
		return err
	}
	at := usualPorts
	if o.freePorts {
		if at, err = freePorts(); err != nil {
			return err
		}
	}
	if err := errors.Join(at.taken(), roomFor(installer, o.web)); err != nil {
		return err
	}
	if err := installer.All(parts.EnvoyNewest); err != nil {
		return err
	}
	if o.web {
		if _, err := installer.Web(); err != nil {
			return err
		}
	}
	d := &demo{options: o, ports: at, installer: installer, cookie: "better-auth.session_token"}
	d.publicURL = fmt.Sprintf("http://localhost:%d", at.envoy)
	if o.tls {
		d.publicURL, d.cookie = fmt.Sprintf("https://localhost:%d", at.envoy), "__Secure-better-auth.session_token"
	}
	defer d.stop()
	if o.web {
		if err := d.serveControl(ctx); err != nil {
			return err
		}
	}
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // the user's own wish
		}
		return err
	}
	if o.test {
		return d.testInBrowser(ctx)
	}
	if err := d.show(ctx); err != nil {
		return err
	}
	if o.check {
		return nil
	}
	d.printWhatToTry(ctx)
	return d.wait(ctx)
}

// demo is all that runs.
type demo struct {
	options
	ports     ports
	publicURL string // the one origin that browsers see
	cookie    string // the session cookie's name there
	installer *parts.Installer
	folder    string // files and logs, gone afterwards
	binary    string
	database  string // Better Auth's connection string
	reader    string // extauthz's, whose role may read and nothing else
	secret    string
	postgres  *parts.Postgres

	controlURL string // of control.go, with the front end only
	runningProcesses
}

// start brings the parts up one after another, with a line for each.
func (d *demo) start(ctx context.Context) (err error) {
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
	if err == nil && d.tls {
		err = d.makeCertificates()
	}
	title := "Better Auth, its tables created"
	if d.web {
		title = "Next.js with Better Auth, its tables created"
	}
	step(title, func() (err error) {
		if d.web {
			err = d.startWeb(ctx)
		} else {
			err = d.keep(d.installer.StartIssuer(ctx, d.folder, d.issuerSettings()))
		}
		if err == nil {
			d.reader, err = d.installer.ReaderURL(ctx, d.database)
		}
		return err
	})
	step("FastAPI backend, at a Unix socket", func() error {
		return d.keep(d.installer.StartBackend(ctx, d.folder, d.backendSocket()))
	})
	step("extauthz", func() error {
		_, err := d.startExtauthz(ctx)
		return err
	})
	step("Envoy "+parts.EnvoyNewest, func() error {
		config, err := d.envoyConfig()
		if err != nil {
			return err
		}
		process, err := d.installer.StartEnvoy(ctx, d.folder, parts.EnvoyNewest, config, loopback(d.ports.envoy))
		if err := d.keep(process, err); err != nil {
			return err
		}
		return process.Await(ctx, parts.AnswersHTTP(d.publicURL+"/api/me", 401))
	})
	return err
}

// keep has a process that was started ended with the rest.
func (d *demo) keep(process *parts.Process, err error) error {
	if process != nil {
		d.runningMu.Lock()
		defer d.runningMu.Unlock()
		d.running = append(d.running, process)
	}
	return err
}

func (d *demo) issuerSettings() parts.IssuerSettings {
	return parts.IssuerSettings{
		Port: d.ports.issuer, URL: d.issuerURL(), Audience: audience, Secret: d.secret, DatabaseURL: d.database,
		TrustedOrigins: d.publicURL + "," + fmt.Sprintf("http://127.0.0.1:%d", d.ports.envoy),
	}
}

// startWeb runs the front end, and returns when it answers.
func (d *demo) startWeb(ctx context.Context) error {
	return d.keep(d.installer.StartWeb(ctx, d.folder, d.issuerSettings(), d.webSettings()...))
}

// startExtauthz runs it, and returns when it is ready.
func (d *demo) startExtauthz(ctx context.Context) (*parts.Process, error) {
	process, err := parts.StartExtauthz(ctx, d.folder, d.binary, loopback(d.ports.admin), d.settings()...)
	if err := d.keep(process, err); err != nil {
		return nil, err
	}
	return process, process.Await(ctx, parts.AnswersHTTP("http://"+loopback(d.ports.admin)+"/readyz", 200))
}

// keysURL is where Better Auth itself listens, which is where the keys are.
func (d *demo) keysURL() string { return fmt.Sprintf("http://localhost:%d", d.ports.issuer) }

// issuerURL is Better Auth's base URL, and so the tokens' iss: the front end's is the origin that browsers see.
func (d *demo) issuerURL() string {
	if d.web {
		return d.publicURL
	}
	return d.keysURL()
}

// settings are what extauthz needs to be told; what is not here is its default.
func (d *demo) settings() []string {
	settings := []string{"BETTER_AUTH_SECRET=" + d.secret, "DATABASE_URL=" + d.reader, "EXTAUTHZ_LOG_LEVEL=debug",
		"EXTAUTHZ_ADMIN_PAGE=true"}
	if d.web {
		settings = append(settings, "BETTER_AUTH_URL="+d.issuerURL(), "JWKS_URL="+d.keysURL()+"/api/auth/jwks")
	}
	if d.freePorts {
		settings = append(settings, "BETTER_AUTH_URL="+d.issuerURL(), "EXTAUTHZ_LISTEN="+loopback(d.ports.checks))
	}
	return settings
}

// backendSocket is where the backend listens. Its folder is made for this user alone; a process of another user's does
// not get in, and one of this user's does.
func (d *demo) backendSocket() string { return filepath.Join(d.folder, "backend", "backend.sock") }

func (d *demo) stop() {
	if process := d.process("extauthz"); process != nil {
		_ = process.Signal(syscall.SIGCONT) // or it could not end
	}
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
	user, err := d.signIn(ctx)
	if err != nil {
		fmt.Println("signing in again:", err)
		return
	}
	exports := make([]string, 0, 2)
	for _, setting := range d.settings() {
		if strings.HasPrefix(setting, "EXTAUTHZ_") {
			continue
		}
		name, value, _ := strings.Cut(setting, "=")
		exports = append(exports, name+"='"+value+"'")
	}
	curl := "curl"
	if d.web {
		fmt.Printf("\n  open %s in a browser, sign up, and see what the backend saw\n", d.publicURL)
	}
	if d.tls {
		curl = "curl --cacert " + d.authorityFile()
		fmt.Printf("  (its authority is %s; let your browser trust that, or go past its warning)\n", d.authorityFile())
	}
	fmt.Printf(`
It stays up; Ctrl-C ends all of it. %[1]s is signed in again. To try by hand:

  JWT=%[2]s
  SESSION=%[3]s
  %[5]s -i %[4]s/api/me -H "Authorization: Bearer $JWT"
  %[5]s -i %[4]s/api/me -H "Authorization: Bearer $SESSION"
  %[5]s -s %[4]s/api/headers -H "Authorization: Bearer $SESSION" -H 'x-user-id: admin'
  curl -s http://%[6]s/metrics | grep extauthz
  open http://%[6]s in a browser: what was decided, and an explainer
  %[7]s \
    .parts/bin/extauthz doctor --token $SESSION --envoy http://%[9]s --url %[4]s/api/me

logs: %[8]s/*.log
`, user.email, user.jwt, user.raw, d.publicURL, curl, loopback(d.ports.admin), strings.Join(exports, " "), d.folder,
		loopback(d.ports.envoyAdmin))
}

// errWrongAnswer means that the demo ran and showed something that is not right.
var errWrongAnswer = errors.New("an answer is not what it should be")
