package envoy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/envoy/parts"
)

const (
	oldSecret = "the-secret-before-the-rotation-0123456789"
	newSecret = "the-secret-behind-the-rotation-9876543210"
)

// rotatingIssuer is a Better Auth that takes its secrets from its environment, as one does that sets no secret in its code.
type rotatingIssuer struct {
	*stack
	program, folder string
	process         *parts.Process
}

func newRotatingIssuer(t *testing.T) *rotatingIssuer {
	t.Helper()
	s := *startStack(t) // a copy, whose issuer is another one
	r := &rotatingIssuer{stack: &s, folder: t.TempDir()}
	var err error
	if r.stack.database, err = s.postgres.CreateDatabase(t.Context(), fmt.Sprintf("rotation%d", time.Now().UnixNano())); err != nil {
		t.Fatal(err)
	}
	home, err := s.installer.Issuer()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("demo/issuer/server.mjs")
	if err != nil {
		t.Fatal(err)
	}
	const line = "  secret: setting(\"BETTER_AUTH_SECRET\"),\n"
	if strings.Count(string(source), line) != 1 {
		t.Fatal("demo/issuer/server.mjs takes its secret in another way")
	}
	program, err := os.CreateTemp(home, "rotation-*.mjs") // beside its node_modules
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(program.Name()) })
	if _, err := program.WriteString(strings.Replace(string(source), line, "", 1)); err != nil {
		t.Fatal(err)
	}
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
	r.program = program.Name()
	if r.issuerPort, err = parts.FreePort(); err != nil {
		t.Fatal(err)
	}
	r.issuerURL = fmt.Sprintf("http://127.0.0.1:%d", r.issuerPort)
	return r
}

// start runs it with these secrets, after what ran before.
func (r *rotatingIssuer) start(t *testing.T, secrets ...string) {
	t.Helper()
	if r.process != nil {
		r.process.Stop()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.Command("node", r.program)
	command.Dir = filepath.Dir(r.program)
	var err error
	r.process, err = parts.Start("rotating-issuer", r.folder, append([]string{"ISSUER_ADDRESS=127.0.0.1", "ISSUER_PORT=" + itoa(r.issuerPort),
		"BETTER_AUTH_URL=" + r.issuerURL, "TRUSTED_ORIGINS=" + frontEnd, "API_AUDIENCE=" + audience, "DATABASE_URL=" + r.database,
		"BETTER_AUTH_TELEMETRY=0"}, secrets...), command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.process.Stop() })
	if err := r.process.Await(ctx, parts.AnswersHTTP(r.issuerURL+"/api/auth/ok", 200)); err != nil {
		t.Fatal(err)
	}
}

// isSignedIn asks Better Auth itself for the session of these headers.
func (r *rotatingIssuer) isSignedIn(t *testing.T, header map[string]string) bool {
	t.Helper()
	a := send(t, "GET", r.issuerURL+"/api/auth/get-session", header, "")
	if a.status != 200 {
		t.Fatalf("get-session: %d %s\n%s", a.status, a.body, r.process.LogEnd())
	}
	return strings.TrimSpace(a.body) != "null"
}

// issues tells whether Better Auth makes a JWT for the person.
func (r *rotatingIssuer) issues(t *testing.T, p person) bool {
	t.Helper()
	a := send(t, "GET", r.issuerURL+"/api/auth/token", map[string]string{"Cookie": p.cookie}, "")
	return a.status == 200 && strings.Contains(a.body, `"token"`)
}

// serviceTokenBy is what a service signs by this secret.
func (r *rotatingIssuer) serviceTokenBy(t *testing.T, key string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": r.issuerURL, "aud": audience, "sub": "billing", "exp": time.Now().Unix() + 600})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// The steps of docs/operations.md, "Rotation", in their order, and who is signed out by each: real Better Auth, and the binary.
func TestRotationStepsOfTheDocs(t *testing.T) {
	r := newRotatingIssuer(t)
	r.start(t, "BETTER_AUTH_SECRET="+oldSecret)
	reader, err := r.installer.ReaderURL(t.Context(), r.database)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	secrets, settings := filepath.Join(folder, "better-auth-secrets"), filepath.Join(folder, "extauthz.yaml")
	write := func(file, content string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(secrets, "1:"+oldSecret)
	write(settings, "better-auth-secrets-file: "+secrets+"\n")
	m := startMesh(t, parts.EnvoyNewest, "http.yaml", "BETTER_AUTH_SECRET=", "EXTAUTHZ_CONFIG="+settings, "BETTER_AUTH_URL="+r.issuerURL, "DATABASE_URL="+reader)
	ada := r.signUp(t, "Ada")
	oldService, newService := r.serviceTokenBy(t, oldSecret), r.serviceTokenBy(t, newSecret)

	isAllowed := func(header map[string]string) bool { return m.get(t, "/api/me", header).status == http.StatusOK }
	cookie := func(p person) map[string]string { return map[string]string{"Cookie": p.cookie} }
	expect := func(step string, rows map[string][2]bool) {
		t.Helper()
		for what, row := range rows {
			if row[0] != row[1] {
				t.Errorf("%s: %s: %t, want %t", step, what, row[0], row[1])
			}
		}
	}
	everyOld := func(step string, signatures, raw bool) {
		t.Helper()
		expect(step, map[string][2]bool{
			"cookie by the old secret":        {isAllowed(cookie(ada)), signatures},
			"signed token by the old secret":  {isAllowed(bearer(ada.signed)), signatures},
			"raw session token":               {isAllowed(bearer(ada.raw)), raw},
			"JWT by the JWKS":                 {isAllowed(bearer(ada.jwt)), raw},
			"HS256 token by the old secret":   {isAllowed(bearer(oldService)), signatures},
			"x-user-id alone, as if nobody's": {isAllowed(map[string]string{"X-User-Id": "admin"}), false},
		})
	}
	everyOld("before", true, true)
	expect("before", map[string][2]bool{"HS256 by the new secret": {isAllowed(bearer(newService)), false}, "signed in at Better Auth": {r.isSignedIn(t, cookie(ada)), true}})

	write(settings, "better-auth-secrets-file: "+secrets+"\nformer-secrets: [hs256, sessions]\n")
	write(secrets, "2:"+newSecret+",1:"+oldSecret)
	eventually(t, "extauthz to know both secrets", func() bool { return isAllowed(bearer(newService)) && isAllowed(bearer(oldService)) })
	everyOld("1: extauthz knows both", true, true)
	expect("1", map[string][2]bool{"signed in at Better Auth": {r.isSignedIn(t, cookie(ada)), true}})

	r.start(t, "BETTER_AUTH_SECRETS=2:"+newSecret+",1:"+oldSecret, "BETTER_AUTH_SECRET="+oldSecret)
	everyOld("2: Better Auth signs by the new one", true, true)
	bob := r.signUp(t, "Bob") // whose JWT is by the key that the old secret encrypts
	expect("2", map[string][2]bool{
		"Better Auth takes a cookie by the old secret":       {r.isSignedIn(t, cookie(ada)), false},
		"Better Auth takes a signed token by the old secret": {r.isSignedIn(t, bearer(ada.signed)), false},
		"Better Auth takes a raw session token":              {r.isSignedIn(t, bearer(ada.raw)), true},
		"a new cookie":                                       {isAllowed(cookie(bob)) && r.isSignedIn(t, cookie(bob)), true},
		"a new JWT":                                          {isAllowed(bearer(bob.jwt)), true},
	})

	write(settings, "better-auth-secrets-file: "+secrets+"\n")
	write(secrets, "2:"+newSecret)
	eventually(t, "the old secret to be gone", func() bool { return !isAllowed(bearer(oldService)) && !isAllowed(cookie(ada)) })
	everyOld("4: extauthz knows the new one only", false, true)
	expect("4", map[string][2]bool{"a new cookie": {isAllowed(cookie(bob)), true}, "HS256 by the new secret": {isAllowed(bearer(newService)), true}})

	r.start(t, "BETTER_AUTH_SECRETS=2:"+newSecret)
	// Its signing key is encrypted by the old secret, so Better Auth can neither issue a JWT nor answer get-session.
	if a := send(t, "GET", r.issuerURL+"/api/auth/get-session", cookie(bob), ""); a.status != http.StatusInternalServerError {
		t.Errorf("5: get-session without the old secret: %d %s", a.status, a.body)
	}
	expect("5: without the old one in Better Auth", map[string][2]bool{
		"a JWT is issued": {r.issues(t, bob), false}, "earlier JWT": {isAllowed(bearer(bob.jwt)), true}, "cookie": {isAllowed(cookie(bob)), true},
	})
	r.execute(t, `delete from "jwks"`)
	expect("5: with another key", map[string][2]bool{"a JWT is issued": {r.issues(t, bob), true}, "signed in": {r.isSignedIn(t, cookie(bob)), true}})
	fresh := r.freshJWT(t, bob)
	eventually(t, "the new key", func() bool { return isAllowed(bearer(fresh)) })
}
