package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"extauthz/envoy/parts"
)

// documentedPorts are those that the pages name. Here each is another one that is free, put into the commands before
// they are run and back into what they print. On 3999 and 5999 nothing listens.
var documentedPorts = []int{8080, 8081, 3000, 9191, 9192, 9193, 9194, 9901, 9902, 3999, 5999}

// docsPlace is where the commands of the pages are run: what `make demo-api` starts, on other ports.
type docsPlace struct {
	*stack
	folder   string // with bin/extauthz in it, and the working folder of commands
	ports    map[int]int
	settings []string // the environment that the demo tells its user to use
}

var documentedPort = regexp.MustCompile(`\b(8080|8081|3000|919[1-4]|990[12]|3999|5999)\b`)

// here puts this place's ports into a text.
func (p *docsPlace) here(text string) string {
	return documentedPort.ReplaceAllStringFunc(text, func(port string) string {
		number, _ := strconv.Atoi(port)
		return itoa(p.ports[number])
	})
}

// documented puts the pages' ports back.
func (p *docsPlace) documented(text string) string {
	for documented, port := range p.ports {
		text = regexp.MustCompile(fmt.Sprintf(`\b%d\b`, port)).ReplaceAllString(text, itoa(documented))
	}
	return text
}

var docsShared struct {
	once  sync.Once
	place *docsPlace
	err   error
}

func startDocsPlace(t *testing.T) *docsPlace {
	t.Helper()
	s := startStack(t)
	docsShared.once.Do(func() { docsShared.place, docsShared.err = newDocsPlace(s) })
	if docsShared.err != nil {
		t.Fatal(docsShared.err)
	}
	return docsShared.place
}

func newDocsPlace(s *stack) (p *docsPlace, err error) {
	p = &docsPlace{stack: s, folder: filepath.Join(s.folder, "docs"), ports: map[int]int{}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, port := range documentedPorts {
		if p.ports[port], err = parts.FreePort(); err != nil {
			return p, err
		}
	}
	if err := os.MkdirAll(filepath.Join(p.folder, "bin"), 0o755); err != nil {
		return p, err
	}
	// What the pages call by its path in the repository is here by the same path.
	for _, link := range [][2]string{{s.binary, "bin/extauthz"}, {s.installer.Root() + "/k8s", "k8s"},
		{s.installer.Root() + "/.parts", ".parts"}, {s.installer.Root() + "/docs", "docs"}} {
		if err := os.Symlink(link[0], filepath.Join(p.folder, link[1])); err != nil {
			return p, err
		}
	}
	if err := p.copySamples("*.yaml", "demo/*.yaml"); err != nil {
		return p, err
	}
	database, err := s.postgres.CreateDatabase(ctx, "docs")
	if err != nil {
		return p, err
	}
	url := p.here("http://localhost:3000")
	if err := p.keep(s.installer.StartIssuer(ctx, p.folder, parts.IssuerSettings{
		Port: p.ports[3000], URL: url, Audience: audience, Secret: demoSecret, DatabaseURL: database, TrustedOrigins: p.here("http://localhost:8080,http://localhost:8081"),
	})); err != nil {
		return p, err
	}
	reader, err := s.installer.ReaderURL(ctx, database)
	if err != nil {
		return p, err
	}
	p.settings = []string{"BETTER_AUTH_URL=" + url, "BETTER_AUTH_SECRET=" + demoSecret, "DATABASE_URL=" + reader}
	if err := p.keep(parts.StartExtauthz(ctx, p.folder, s.binary, p.here("127.0.0.1:9192"), append(p.settings, "EXTAUTHZ_LISTEN="+p.here("127.0.0.1:9191"))...)); err != nil {
		return p, err
	}
	config := filepath.Join(p.folder, "envoy", "demo", "envoy.yaml")
	return p, p.keep(s.installer.StartEnvoy(ctx, p.folder, parts.EnvoyNewest, config, p.here("127.0.0.1:8080")))
}

// keep has a process ended with the shared stack.
func (p *docsPlace) keep(process *parts.Process, err error) error {
	if process != nil {
		p.stack.running = append(p.stack.running, process)
	}
	return err
}

// copySamples puts Envoy's configurations here by the same paths, with this place's ports.
func (p *docsPlace) copySamples(patterns ...string) error {
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			target := filepath.Join(p.folder, "envoy", file)
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(target, []byte(p.backendHere(p.here(string(content)))), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// backendHere puts the stack's backend where the samples have theirs.
func (p *docsPlace) backendHere(config string) string {
	return strings.ReplaceAll(config, parts.BackendSocket, p.backend)
}

// environment is what commands find. Those of the demo are its settings and the credentials of a user who has just signed in.
func (p *docsPlace) environment(t *testing.T, demo bool) []string {
	t.Helper()
	path := filepath.Join(p.folder, "bin") + ":" + os.Getenv("PATH")
	environment := []string{"PATH=" + path, "HOME=" + os.Getenv("HOME"), "LC_ALL=C.UTF-8"}
	if !demo {
		return environment
	}
	return append(append(environment, p.settings...), p.credentials(t)...)
}

// credentials are those of the demo's user, who has just signed in.
func (p *docsPlace) credentials(t *testing.T) []string {
	t.Helper()
	there := *p.stack // the same stack, with this place's issuer
	there.issuerURL = p.here("http://localhost:3000")
	header := map[string]string{"Content-Type": "application/json", "Origin": p.here("http://localhost:8080")}
	body := `{"name":"Zoë Day","email":"zoe@example.com","password":"correct horse battery"}`
	send(t, "POST", there.issuerURL+"/api/auth/sign-up/email", header, body) // which fails from the second time on
	signIn := send(t, "POST", there.issuerURL+"/api/auth/sign-in/email", header, body)
	var session struct{ Token string }
	if err := json.Unmarshal([]byte(signIn.body), &session); err != nil || signIn.status != 200 {
		t.Fatalf("sign-in: %d %s", signIn.status, signIn.body)
	}
	cookie, err := http.ParseSetCookie(signIn.header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	jwt := there.freshJWT(t, person{cookie: cookie.Name + "=" + cookie.Value})
	return []string{"JWT=" + jwt, "TOKEN=" + jwt, "SESSION=" + session.Token, "COOKIE=" + cookie.Value}
}

// demoSecret is as long as the one that the demo makes.
const demoSecret = "0123456789abcdef0123456789abcdef0123456789abcdef"

const longestPage = 3 * time.Minute

// shell runs a script in bash, in the place's folder, and returns what it printed. All that it started ends with it.
func (p *docsPlace) shell(t *testing.T, environment []string, script string) (string, error) {
	t.Helper()
	output, err := os.CreateTemp(p.folder, "output-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(output.Name())
	defer output.Close()
	ctx, cancel := context.WithTimeout(t.Context(), longestPage)
	defer cancel()
	// Not by a pipe: programs in the background would hold it open.
	command := exec.CommandContext(ctx, "bash", "-c", script)
	command.Dir, command.Env, command.Stdout, command.Stderr = p.folder, environment, output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	err = command.Run()
	if command.Process != nil {
		if killed := syscall.Kill(-command.Process.Pid, syscall.SIGKILL); killed != nil && !errors.Is(killed, syscall.ESRCH) {
			t.Error(killed)
		}
	}
	content, readErr := os.ReadFile(output.Name())
	return string(content), errors.Join(err, readErr)
}
