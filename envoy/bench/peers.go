package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"extauthz/envoy/parts"
)

// The peers that others would use in place of this server. They are fetched at run time, into .parts/.
const (
	opaModule  = "github.com/open-policy-agent/opa-envoy-plugin"
	opaVersion = "v1.15.2-envoy"
)

// peersFolder has the policy and the program that the peers run.
func (b *bench) peersFolder() string {
	return filepath.Join(b.installer.Root(), "envoy", "bench", "peers")
}

// startOPA runs opa-envoy-plugin with the JWT part of the check as its policy; cached with its cache of
// verified tokens, which is off by default.
func (b *bench) startOPA(name string, cached bool) (target, error) {
	program, err := b.installer.GoProgram("opa-envoy-plugin", opaModule, opaVersion, "cmd/opa-envoy-plugin")
	if err != nil {
		return target{}, err
	}
	ports := make([]int, 3)
	for i := range ports {
		if ports[i], err = parts.FreePort(); err != nil {
			return target{}, err
		}
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	args := []string{"run", "--server", "--skip-version-check", "--log-level", "error",
		"--addr", fmt.Sprintf("127.0.0.1:%d", ports[1]), "--diagnostic-addr", fmt.Sprintf("127.0.0.1:%d", ports[2]),
		"--set", "plugins.envoy_ext_authz_grpc.addr=" + address, "--set",
		"plugins.envoy_ext_authz_grpc.path=envoy/authz/decision"}
	if cached {
		args = append(args, "--set", "caching.inter_query_builtin_value_cache.named.io_jwt.max_num_entries=100000")
	}
	process, err := parts.Start(name, b.folder,
		[]string{"JWKS=" + b.issuer.document, "BETTER_AUTH_URL=" + b.issuer.url, "API_AUDIENCE=" + benchAudience},
		exec.Command(program, append(args, filepath.Join(b.peersFolder(), "policy.rego"))...))
	if err != nil {
		return target{}, err
	}
	b.running = append(b.running, process)
	return target{name: name, address: address, process: process}, process.Await(b.ctx, parts.AcceptsTCP(address))
}

// footings are the ways to run the Python verifier, one worker each: as `pip install uvicorn` has it, and
// as uvicorn[standard] does.
var footings = map[string][]string{
	"plain uvicorn":                 {"--loop", "asyncio", "--http", "h11"},
	"uvicorn, uvloop and httptools": {"--loop", "uvloop", "--http", "httptools"},
}

// startVerifier runs the Python verifier.
func (b *bench) startVerifier(footing string) (target, error) {
	python, err := b.installer.Python("verifier", "FastAPI, PyJWT and asyncpg",
		filepath.Join(b.peersFolder(), "requirements.txt"))
	if err != nil {
		return target{}, err
	}
	port, err := parts.FreePort()
	if err != nil {
		return target{}, err
	}
	args := append([]string{"-m", "uvicorn", "verifier:app", "--host", "127.0.0.1", "--port", fmt.Sprint(port),
		"--log-level", "warning"}, footings[footing]...)
	command := exec.Command(python, args...)
	command.Dir = b.peersFolder()
	process, err := parts.Start("verifier", b.folder,
		[]string{"PYTHONDONTWRITEBYTECODE=1", "BETTER_AUTH_URL=" + b.issuer.url, "API_AUDIENCE=" + benchAudience,
			"BETTER_AUTH_SECRET=" + base64.StdEncoding.EncodeToString(b.issuer.keys[0].Seed()),
			"DATABASE_URL=" + strings.Replace(strings.TrimSuffix(b.database, "?sslmode=disable"), "postgresql://",
				"postgresql+asyncpg://", 1)}, command)
	if err != nil {
		return target{}, err
	}
	b.running = append(b.running, process)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	return target{name: "verifier", address: address, process: process},
		process.Await(b.ctx, parts.AnswersHTTP("http://"+address+"/nothing", 200))
}

// peers holds the same credentials against what others run: opa-envoy-plugin with an equivalent policy, and
// a FastAPI backend that verifies by itself.
func (b *bench) peers() error {
	if err := b.startDatabase(); err != nil {
		return err
	}
	product, err := b.startExtauthz("extauthz-peers", "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	opa, err := b.startOPA("opa-envoy-plugin", false)
	if err != nil {
		return err
	}
	opaCached, err := b.startOPA("opa-envoy-plugin-cached", true)
	if err != nil {
		return err
	}
	const users = 1000
	jwts, sessions := make([]message, users), make([]message, users)
	request := func(path, token string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer " + token +
			"\r\nAccept: application/json\r\n\r\n"
	}
	var texts [3][]string
	for i := range users {
		jwt, session := b.issuer.token(i), sessionToken(i)
		jwts[i], sessions[i] = encode(jwt), encode(session)
		for kind, text := range []string{request("/api/me", jwt), request("/api/me", session), request("/nothing", jwt)} {
			texts[kind] = append(texts[kind], text)
		}
	}
	checked, err := compare(3, 20_000, 64, jwts, product, opa, opaCached)
	if err != nil {
		return err
	}
	looked, err := compare(3, 20_000, 64, sessions, product)
	if err != nil {
		return err
	}
	b.noteTarget("a JWT, extauthz", checked[0])
	b.noteTarget("a JWT, opa-envoy-plugin", checked[1])
	b.noteTarget("a JWT, opa-envoy-plugin with its token cache", checked[2])
	b.noteTarget("a session, extauthz", looked[0])
	b.ratio("opa", "CPU a JWT check, opa-envoy-plugin ÷ extauthz", checked[1].microseconds()/checked[0].microseconds(), "")
	b.ratio("opa-cached", "CPU a JWT check, opa-envoy-plugin with its token cache ÷ extauthz",
		checked[2].microseconds()/checked[0].microseconds(), "")
	for _, footing := range slices.Sorted(maps.Keys(footings)) {
		if err := b.python(footing, texts, checked[0], looked[0]); err != nil {
			return err
		}
	}
	return nil
}

// python drives the Python verifier with requests for a JWT, for a session and for no check at all.
func (b *bench) python(footing string, texts [3][]string, jwt, session result) error {
	verifier, err := b.startVerifier(footing)
	if err != nil {
		return err
	}
	var best [3]result
	for round := range 4 {
		for kind := range texts {
			r, err := driveHTTP(b.ctx, verifier.address, verifier.process.PID(), 3000, 64, texts[kind])
			if err != nil {
				return fmt.Errorf("the Python verifier: %w", err)
			}
			if round > 0 {
				best[kind].keepBest(r)
			}
		}
	}
	for kind, what := range []string{"a JWT", "a session"} {
		ours := []result{jwt, session}[kind]
		b.note(what+", FastAPI verifier, "+footing,
			fmt.Sprintf("%.0f µs of CPU a request, %.0f of them without a check", best[kind].microseconds(),
				best[2].microseconds()), "")
		b.ratio(footing+" "+what, "CPU "+what+", FastAPI verifier's request ("+footing+") ÷ extauthz's check",
			best[kind].microseconds()/ours.microseconds(), "≥ 40")
	}
	return nil
}
