package main

import (
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
	"extauthz/cmd/extauthz/internal/server"
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
	before := strings.Count(p.log.String(), server.LogReloaded)
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	commandtest.Eventually(t, "the end of the reload", func() bool { return strings.Count(p.log.String(), server.LogReloaded) > before })
}

// A changed configuration takes effect whole or not at all, and what came of it is told once.
func TestReloadIsWhole(t *testing.T) {
	t.Parallel()
	jwks, _ := newIssuer(t)
	f := commandtest.Folder{T: t, Path: t.TempDir()}
	a, b := f.Write("a", commandtest.SecretA), f.Write("b", commandtest.SecretB)
	base := "better-auth-url: " + issuer + "\njwks-url: " + jwks.URL + "\n"
	good := base + "api-audience: " + audience + "\nbetter-auth-secret-file: " + a + "\n"
	config := f.Write("extauthz.yaml", good)
	p := startProgram(t, "EXTAUTHZ_CONFIG="+config)
	if !p.allows(t, commandtest.SecretA) || p.allows(t, commandtest.SecretB) {
		t.Fatal("the first secret does not decide")
	}
	told := func(words string) int { return strings.Count(p.log.String(), words) }

	f.Write("extauthz.yaml", base+"api-audience: http://other.example.com\nbetter-auth-secret-file: "+b+"\n")
	p.hangup(t)
	if !p.allows(t, commandtest.SecretA) || p.allows(t, commandtest.SecretB) {
		t.Error("an audience that waits for a restart was left and its secret taken")
	}
	if told("API_AUDIENCE") == 0 {
		t.Error("nothing tells that the audience waits for a restart")
	}
	before := told("API_AUDIENCE")
	time.Sleep(2 * server.ReloadInterval) // it looks again, and has nothing new to tell
	if now := told("API_AUDIENCE"); now != before {
		t.Errorf("one change was told %d times more", now-before)
	}

	f.Write("a", commandtest.SecretC) // what waits for a restart does not keep the secret in force from being rotated
	commandtest.Eventually(t, "the rotated secret", func() bool { return p.allows(t, commandtest.SecretC) })
	f.Write("a", commandtest.SecretA)
	commandtest.Eventually(t, "the rotated secret", func() bool { return p.allows(t, commandtest.SecretA) })

	f.Write("extauthz.yaml", good) // taken back
	p.hangup(t)
	f.Write("extauthz.yaml", strings.Replace(good, a, b, 1))
	commandtest.Eventually(t, "the other file's secret", func() bool { return p.allows(t, commandtest.SecretB) })
	if p.allows(t, commandtest.SecretA) {
		t.Error("the former file's secret still counts")
	}

	for title, content := range map[string]string{
		"the line is gone": base + "api-audience: " + audience + "\n", "no YAML": "better-auth-url: [", "an unknown setting": good + "audiences: x\n", "no such file": strings.Replace(good, a, a+".missing", 1),
		"an empty secret": strings.Replace(good, a, f.Write("empty", ""), 1), "empty": "",
	} {
		f.Write("extauthz.yaml", content)
		p.hangup(t)
		if !p.allows(t, commandtest.SecretB) || p.allows(t, commandtest.SecretA) {
			t.Errorf("%s: the secret in force does not count any more", title)
		}
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	p.hangup(t)
	if !p.allows(t, commandtest.SecretB) {
		t.Error("without its file: the secret in force does not count any more")
	}
	f.Write("b", commandtest.SecretC)
	commandtest.Eventually(t, "a rotation while the configuration is gone", func() bool { return p.allows(t, commandtest.SecretC) })
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	p.hangup(t)
	if !p.allows(t, commandtest.SecretC) {
		t.Error("a removed file of the secret switched HS256 off")
	}
	for _, secret := range []string{commandtest.SecretA, commandtest.SecretB, commandtest.SecretC} {
		if told(secret) > 0 {
			t.Error("a secret was logged")
		}
	}
}

// Secrets, what the former ones are good for, and the log level change together.
func TestReloadSwapsSecretsAndTheirUses(t *testing.T) {
	t.Parallel()
	jwks, _ := newIssuer(t)
	f := commandtest.Folder{T: t, Path: t.TempDir()}
	secrets := f.Write("secrets", "2:"+commandtest.SecretB+",1:"+commandtest.SecretA)
	base := "better-auth-url: " + issuer + "\njwks-url: " + jwks.URL + "\napi-audience: " + audience + "\nbetter-auth-secrets-file: " + secrets + "\n"
	p := startProgram(t, "EXTAUTHZ_CONFIG="+f.Write("extauthz.yaml", base))
	if p.allows(t, commandtest.SecretA) || !p.allows(t, commandtest.SecretB) {
		t.Fatal("a former secret counts from the start")
	}
	f.Write("extauthz.yaml", base+"former-secrets: hs256\n")
	commandtest.Eventually(t, "the former secret to count", func() bool { return p.allows(t, commandtest.SecretA) })
	if !p.allows(t, commandtest.SecretB) {
		t.Error("the current secret does not count")
	}
	if strings.Contains(p.log.String(), `"level":"DEBUG"`) {
		t.Error("debug lines before they were asked for")
	}
	f.Write("extauthz.yaml", base+"log-level: debug\n")
	commandtest.Eventually(t, "the former secret to count no more", func() bool { return !p.allows(t, commandtest.SecretA) })
	commandtest.Eventually(t, "the other log level", func() bool {
		p.allows(t, commandtest.SecretB)
		return strings.Contains(p.log.String(), `"level":"DEBUG"`)
	})
}
