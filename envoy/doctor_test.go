package envoy

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"extauthz/envoy/parts"
)

// doctor runs `extauthz doctor` with the mesh's settings, and returns what it prints and its exit status.
func (m *mesh) doctor(t *testing.T, settings []string, args ...string) (string, int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), m.binary, append([]string{"doctor"}, args...)...)
	command.Env = append(append(command.Env, m.settings...), settings...)
	output, err := command.CombinedOutput()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case failed:
		return string(output), exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return string(output), 0
}

// The whole deployment, as it is and with what people get wrong: real Envoy, Better Auth and PostgreSQL.
func TestDoctor(t *testing.T) {
	m := startMesh(t, parts.EnvoyNewest, "public-routes.yaml")
	p := m.signUp(t, "Zoë Day")
	well := []string{"--token", p.jwt, "--cookie", p.cookie[strings.Index(p.cookie, "=")+1:], "--envoy", "http://" + m.envoyAdmin, "--url", m.url + "/api/me", "--origin", frontEnd}
	output, status := m.doctor(t, nil, well...)
	for again := 0; status == 1 && again < 20; again++ { // a busy machine is slow to answer, which doctor warns of
		t.Logf("asked again after exit status 1:\n%s", output)
		output, status = m.doctor(t, nil, well...)
	}
	if status != 0 {
		t.Errorf("exit status %d\n%s", status, output)
	}
	for _, want := range []string{
		"ok    jwks        usable keys: ", "ok    jwks        clock: ", "ok    database    connect: PostgreSQL 18", "ok    database    index: on the session's token",
		"ok    database    rights: extauthz_reader may read sessions and users, and write nothing", "ok    credential  audience: ", "ok    credential  signature: fits", "ok    credential  row: there, with its user",
		"ok    envoy       failure_mode_allow: false", "ok    envoy       filter: in http", "ok    envoy       CORS: ", "ok    envoy       cluster extauthz: HTTP/2",
		"ok    request     GET without a credential: 401, by extauthz", "ok    request     GET with --token: 200 OK", "ok    request     CORS preflight: 200 OK, allowed for " + frontEnd,
		", 0 to look at, 0 failing",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("no %q in\n%s", want, output)
		}
	}
	for _, token := range []string{p.jwt, p.raw, secret} {
		if strings.Contains(output, token) {
			t.Errorf("a credential is printed:\n%s", output)
		}
	}
	for _, row := range []struct {
		settings, args []string
		want           string
	}{
		{[]string{"BETTER_AUTH_SECRET=another-secret-of-more-than-32-characters"}, well, "FAIL  credential  signature: bad_signature"},
		{[]string{"API_AUDIENCE=https://api.example.com"}, well, "FAIL  credential  audience: wrong_audience: got "},
		{[]string{"BETTER_AUTH_URL=" + m.issuerURL + "/wrong"}, nil, "status 404"},
		{nil, []string{"--url", m.url + "/health"}, "FAIL  request     GET without a credential: 200 OK, where 401 by extauthz is wanted"},
		{nil, []string{"--url", m.url + "/api/me", "--origin", "https://elsewhere.example.com"}, "FAIL  request     CORS preflight: "},
		{nil, []string{"--envoy", m.url}, "FAIL  envoy       read "},
	} {
		output, status := m.doctor(t, row.settings, row.args...)
		if status != 2 || !strings.Contains(output, row.want) {
			t.Errorf("%q %q: exit status %d, want %q in\n%s", row.settings, row.args, status, row.want, output)
		}
	}
	m.extauthz.Stop()
	if output, status := m.doctor(t, nil, "--url", m.url+"/api/me"); status != 2 || !strings.Contains(output, "FAIL  request     GET without a credential: 503") {
		t.Errorf("with extauthz down: exit status %d\n%s", status, output)
	}
}
