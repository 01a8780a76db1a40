package main

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
)

// program is the command as a process of its own.
type program struct {
	*exec.Cmd
	path   string
	log    *commandtest.Buffer
	checks authv3.AuthorizationClient
	target string // where checks is connected to
	admin  string
}

// command runs the same binary once more.
func (p *program) command(t *testing.T, args ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), p.path, args...)
}

// startProgram runs serve by the real binary, with no environment but the given one, until it is ready.
func startProgram(t *testing.T, environment ...string) *program {
	t.Helper()
	p := startUnready(t, environment...)
	commandtest.Eventually(t, "readiness", func() bool { return get(p.admin+"/readyz") == 200 })
	return p
}

// startUnready is startProgram for a server that is not to be ready yet.
func startUnready(t *testing.T, environment ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "extauthz") // by this name the test's binary is the command
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	checks := "127.0.0.1:" + commandtest.ClosedPort(t)
	p := &program{Cmd: exec.Command(path, "serve"), path: path, log: &commandtest.Buffer{}, target: checks, admin: "127.0.0.1:" + commandtest.ClosedPort(t)}
	p.Env = append([]string{"EXTAUTHZ_LISTEN=" + checks, "EXTAUTHZ_ADMIN_LISTEN=" + p.admin, endAtOnce}, environment...)
	p.Stderr = p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
		if t.Failed() {
			t.Log(p.log)
		}
	})
	connection, err := grpc.NewClient(checks, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	p.checks = authv3.NewAuthorizationClient(connection)
	commandtest.Eventually(t, "healthz", func() bool { return get(p.admin+"/healthz") == 200 })
	return p
}

// allows tells whether a service's token by this secret passes.
func (p *program) allows(t *testing.T, secret string) bool {
	t.Helper()
	return p.passes(t, serviceToken(t, secret))
}

// passes tells whether a token passes. An answer that says nothing of the token is asked for again.
func (p *program) passes(t *testing.T, token string) (allowed bool) {
	t.Helper()
	commandtest.Eventually(t, "a verdict", func() bool {
		response, err := p.checks.Check(t.Context(), checkOf(token))
		if err != nil || response.GetDeniedResponse().GetStatus().GetCode() == 503 {
			t.Log(response, err)
			return false
		}
		allowed = response.GetOkResponse() != nil
		return true
	})
	return allowed
}

// hangup sends SIGHUP and waits until what came of it is told.
func (p *program) hangup(t *testing.T) {
	t.Helper()
	before := strings.Count(p.log.String(), logReloaded)
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	commandtest.Eventually(t, "the end of the reload", func() bool { return strings.Count(p.log.String(), logReloaded) > before })
}

const (
	secretA = "secret-a-of-more-than-32-characters-----"
	secretB = "secret-b-of-more-than-32-characters-----"
	secretC = "secret-c-of-more-than-32-characters-----"
)

// folder is a folder of configuration whose files are replaced whole, as careful tools do.
type folder struct {
	t    *testing.T
	path string
}

func (f folder) write(name, content string) string {
	f.t.Helper()
	path := filepath.Join(f.path, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// A changed configuration takes effect whole or not at all, and what came of it is told once.
func TestReloadIsWhole(t *testing.T) {
	t.Parallel()
	jwks, _ := newIssuer(t)
	f := folder{t, t.TempDir()}
	a, b := f.write("a", secretA), f.write("b", secretB)
	base := "better-auth-url: " + issuer + "\njwks-url: " + jwks.URL + "\n"
	good := base + "api-audience: " + audience + "\nbetter-auth-secret-file: " + a + "\n"
	config := f.write("extauthz.yaml", good)
	p := startProgram(t, "EXTAUTHZ_CONFIG="+config)
	if !p.allows(t, secretA) || p.allows(t, secretB) {
		t.Fatal("the first secret does not decide")
	}
	told := func(words string) int { return strings.Count(p.log.String(), words) }

	f.write("extauthz.yaml", base+"api-audience: http://other.example.com\nbetter-auth-secret-file: "+b+"\n")
	p.hangup(t)
	if !p.allows(t, secretA) || p.allows(t, secretB) {
		t.Error("an audience that waits for a restart was left and its secret taken")
	}
	if told("API_AUDIENCE") == 0 {
		t.Error("nothing tells that the audience waits for a restart")
	}
	before := told("API_AUDIENCE")
	time.Sleep(2 * reloadInterval) // it looks again, and has nothing new to tell
	if now := told("API_AUDIENCE"); now != before {
		t.Errorf("one change was told %d times more", now-before)
	}

	f.write("a", secretC) // what waits for a restart does not keep the secret in force from being rotated
	commandtest.Eventually(t, "the rotated secret", func() bool { return p.allows(t, secretC) })
	f.write("a", secretA)
	commandtest.Eventually(t, "the rotated secret", func() bool { return p.allows(t, secretA) })

	f.write("extauthz.yaml", good) // taken back
	p.hangup(t)
	f.write("extauthz.yaml", strings.Replace(good, a, b, 1))
	commandtest.Eventually(t, "the other file's secret", func() bool { return p.allows(t, secretB) })
	if p.allows(t, secretA) {
		t.Error("the former file's secret still counts")
	}

	for title, content := range map[string]string{
		"the line is gone": base + "api-audience: " + audience + "\n", "no YAML": "better-auth-url: [", "an unknown setting": good + "audiences: x\n", "no such file": strings.Replace(good, a, a+".missing", 1),
		"an empty secret": strings.Replace(good, a, f.write("empty", ""), 1), "empty": "",
	} {
		f.write("extauthz.yaml", content)
		p.hangup(t)
		if !p.allows(t, secretB) || p.allows(t, secretA) {
			t.Errorf("%s: the secret in force does not count any more", title)
		}
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	p.hangup(t)
	if !p.allows(t, secretB) {
		t.Error("without its file: the secret in force does not count any more")
	}
	f.write("b", secretC)
	commandtest.Eventually(t, "a rotation while the configuration is gone", func() bool { return p.allows(t, secretC) })
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	p.hangup(t)
	if !p.allows(t, secretC) {
		t.Error("a removed file of the secret switched HS256 off")
	}
	for _, secret := range []string{secretA, secretB, secretC} {
		if told(secret) > 0 {
			t.Error("a secret was logged")
		}
	}
}

// Secrets, what the former ones are good for, and the log level change together.
func TestReloadSwapsSecretsAndTheirUses(t *testing.T) {
	t.Parallel()
	jwks, _ := newIssuer(t)
	f := folder{t, t.TempDir()}
	secrets := f.write("secrets", "2:"+secretB+",1:"+secretA)
	base := "better-auth-url: " + issuer + "\njwks-url: " + jwks.URL + "\napi-audience: " + audience + "\nbetter-auth-secrets-file: " + secrets + "\n"
	p := startProgram(t, "EXTAUTHZ_CONFIG="+f.write("extauthz.yaml", base))
	if p.allows(t, secretA) || !p.allows(t, secretB) {
		t.Fatal("a former secret counts from the start")
	}
	f.write("extauthz.yaml", base+"former-secrets: hs256\n")
	commandtest.Eventually(t, "the former secret to count", func() bool { return p.allows(t, secretA) })
	if !p.allows(t, secretB) {
		t.Error("the current secret does not count")
	}
	if strings.Contains(p.log.String(), `"level":"DEBUG"`) {
		t.Error("debug lines before they were asked for")
	}
	f.write("extauthz.yaml", base+"log-level: debug\n")
	commandtest.Eventually(t, "the former secret to count no more", func() bool { return !p.allows(t, secretA) })
	commandtest.Eventually(t, "the other log level", func() bool { p.allows(t, secretB); return strings.Contains(p.log.String(), `"level":"DEBUG"`) })
}

// A file of settings that is written anew and means the same is no change, and nothing waits for a restart.
func TestReloadKnowsWhatMeansTheSame(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "extauthz.yaml")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	getenv := func(name string) string { return map[string]string{"EXTAUTHZ_CONFIG": path}[name] }
	read := func() (*settings.Settings, error) {
		s, _, err := sources.Load("serve", nil, getenv, nil)
		return s, err
	}
	const first = "api-audience: [https://a.example, https://b.example]\nmax-connection-age: 5m\nadmin-page: true\nlog-level: info\n"
	for title, row := range map[string]struct {
		second string
		want   outcome
	}{
		"order, comments, quotes": {"# by hand\nlog-level: 'info'\nadmin-page: \"true\"\nmax-connection-age: 5m # long\n" +
			"api-audience:\n- https://a.example\n- \"https://b.example\"\n", outcomeUnchanged},
		"a duration": {strings.Replace(first, "5m", "300s", 1), outcomeUnchanged},
		"a list":     {strings.Replace(first, "[https://a.example, https://b.example]", "https://a.example, https://b.example", 1), outcomeUnchanged},
		"a boolean":  {strings.Replace(first, "true", "True", 1), outcomeUnchanged},
		"a default":  {first + "log-format: json\n", outcomeUnchanged},
		"a level, and a duration that means the same": {strings.NewReplacer("5m", "300s", "info", "debug").Replace(first), outcomeChanged},
		"another duration":                            {strings.Replace(first, "5m", "301s", 1), outcomeRefused},
		"another list":                                {strings.Replace(first, "https://b", "https://c", 1), outcomeRefused},
	} {
		t.Run(title, func(t *testing.T) {
			write(first)
			s, err := read()
			if err != nil {
				t.Fatal(err)
			}
			log := new(commandtest.Buffer)
			r := newReloader(s, read, new(slog.LevelVar), slog.New(slog.NewTextHandler(log, nil)))
			write(row.second)
			if came := r.look(t.Context()); came != row.want {
				t.Errorf("%s, and not %s", came, row.want)
			}
			if row.want == outcomeUnchanged && log.String() != "" {
				t.Error("tells of it:", log)
			}
			if came := r.look(t.Context()); row.want != outcomeRefused && came != outcomeUnchanged {
				t.Error("the second look:", came)
			}
		})
	}
}

// What Windows' editors put in front of a text is no part of a secret.
func TestSecretFileWithAMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for title, row := range map[string]struct{ content, secret string }{
		"plain":             {"a-secret", "a-secret"},
		"a line":            {"a-secret\r\n", "a-secret"},
		"a mark":            {"\xef\xbb\xbfa-secret", "a-secret"},
		"a mark and a line": {"\xef\xbb\xbfa-secret\r\n", "a-secret"},
		"UTF-16":            {"\xff\xfea\x00-\x00", ""},
		"UTF-16, big end":   {"\xfe\xff\x00a\x00-", ""},
		"a mark alone":      {"\xef\xbb\xbf", ""},
	} {
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		getenv := func(name string) string { return map[string]string{"BETTER_AUTH_SECRET_FILE": path}[name] }
		s, _, err := sources.Load("serve", nil, getenv, nil)
		switch {
		case row.secret == "" && err == nil:
			t.Errorf("%s: it is taken", title)
		case row.secret != "" && (err != nil || string(s.Config.Secret) != row.secret):
			t.Errorf("%s: %v", title, err)
		}
	}
}
