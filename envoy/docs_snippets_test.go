package envoy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/jackc/pgx/v5"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/envoy/parts"
)

// Every snippet of the pages is used for what it is: compiled, run, or read by the program that it is for.
func TestDocsSnippets(t *testing.T) {
	try := map[string]func(*testing.T, block){
		"sh settings": trySettings, "sh module": tryModule, "yaml settings": trySettingsFile, "yaml route": tryRoute, "yaml manager": tryManager,
		"yaml compose": tryCompose, "go program": tryProgram, "python backend": tryBackend, "ts jwt": tryJWTOptions, "ts file": tryFile,
		"yaml part":   tryPart,
		"sql scratch": trySQL, "redis acl": tryACL,
	}
	try["sh start"] = tryStart
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page, readPage(t, page)) {
			if do, known := try[b.language+" "+b.way]; known {
				t.Run(b.name(), func(t *testing.T) { do(t, b) })
			}
		}
	}
}

// trySettings has extauthz take the variables.
func trySettings(t *testing.T, b block) {
	if fault := settingsFault(t, b.text); fault != "" {
		t.Error(fault)
	}
}

// settingsFault says what is wrong with lines that set variables: one that fails, one that extauthz does not take, and
// one whose name is nobody's. A name near one of ours is told in the log and stops nothing, since it may be another's.
func settingsFault(t *testing.T, text string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-ec", "set -a\n"+text+"set +a\nexec \"$BINARY\" serve --dry-run")
	command.Env = []string{"BINARY=" + startStack(t).binary, "PATH=" + os.Getenv("PATH")}
	output, err := command.CombinedOutput()
	if err != nil || strings.Contains(string(output), "not a setting") {
		return fmt.Sprintf("%v\n%s", err, output)
	}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if strings.HasPrefix(name, "OTEL_") && !slices.Contains(openTelemetrys, name) {
			return name + " is no variable of OpenTelemetry's that its exporter reads"
		}
	}
	return ""
}

// openTelemetrys are variables of OpenTelemetry's own exporters that the pages may name.
var openTelemetrys = []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER"}

// tryStart runs the commands that build and start extauthz, with the addresses, the secret and the database of this stack in place of
// the page's, and waits until it is ready.
func tryStart(t *testing.T, b block) {
	s := startStack(t)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "secret"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(s.binary, filepath.Join(folder, "bin", "extauthz")); err != nil {
		t.Fatal(err)
	}
	script := b.text
	for _, pair := range [][2]string{{"make build\n", "\n"}, {"https://app.example.com", s.issuerURL}, {"https://api.example.com", audience},
		{"/run/secrets/better-auth-secret", filepath.Join(folder, "secret")},
		{"postgresql+asyncpg://reader:…@db/app?ssl=require", strings.Replace(s.reader, "postgresql://", "postgresql+asyncpg://", 1)}} {
		if !strings.Contains(script, pair[0]) {
			t.Errorf("no %q", pair[0])
		}
		script = strings.Replace(script, pair[0], pair[1], 1)
	}
	var addresses [2]string
	for i := range addresses {
		port, err := parts.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		addresses[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	// exec, so that the shell's end is the server's.
	script = strings.Replace(script, "\nbin/extauthz serve", "\nexec bin/extauthz serve", 1)
	command := exec.Command("bash", "-ec", script)
	command.Dir = folder
	process, err := parts.Start("started", folder, []string{"EXTAUTHZ_LISTEN=" + addresses[0], "EXTAUTHZ_ADMIN_LISTEN=" + addresses[1]}, command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := process.Await(ctx, parts.AnswersHTTP("http://"+addresses[1]+"/readyz", 200)); err != nil {
		t.Error(err)
	}
}

// trySettingsFile has extauthz take the file.
func trySettingsFile(t *testing.T, b block) {
	folder := t.TempDir()
	text := secretFiles.ReplaceAllStringFunc(b.text, func(path string) string {
		content := secret
		if strings.Contains(path, "database") {
			content = startStack(t).reader
		}
		path = filepath.Join(folder, filepath.Base(path))
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	})
	file := filepath.Join(folder, "extauthz.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), startStack(t).binary, "serve", "--dry-run", "--config", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// secretFiles are the paths of files with secrets in the pages' settings.
var secretFiles = regexp.MustCompile(`/run/secrets/[a-z-]+`)

// tryACL has a real Redis take the commands, and wants the user to read what extauthz reads, and to change nothing.
func tryACL(t *testing.T, b block) {
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	server, err := startStack(t).installer.StartRedis(t.Context(), t.TempDir(), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	run := func(words ...string) string {
		t.Helper()
		reply, err := server.Command(words...)
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		return reply
	}
	for line := range strings.Lines(b.text) {
		if reply := run(strings.Fields(line)...); reply != "OK" {
			t.Fatalf("%s: %s", line, reply)
		}
	}
	run("SET", "better-auth:token", "value")
	asUser := []string{"--user", "extauthz", "--pass", "PASSWORD", "--no-auth-warning"}
	if reply := run(append(asUser, "GET", "better-auth:token")...); reply != "value" {
		t.Errorf("reading: %s", reply)
	}
	for _, words := range [][]string{{"SET", "better-auth:token", "other"}, {"GET", "other:token"}, {"DEL", "better-auth:token"}, {"KEYS", "*"}} {
		if reply := run(append(asUser, words...)...); !strings.Contains(reply, "NOPERM") {
			t.Errorf("%q: %s", words, reply)
		}
	}
}

// tryRoute puts the routes before those of http.yaml, tryManager the fields into its connection manager; Envoy validates it.
func tryRoute(t *testing.T, b block) {
	validateManager(t, func(manager map[string]any) {
		var routes []any
		if err := yaml.Unmarshal([]byte(b.text), &routes); err != nil {
			t.Fatal(err)
		}
		host := manager["route_config"].(map[string]any)["virtual_hosts"].([]any)[0].(map[string]any)
		host["routes"] = append(routes, host["routes"].([]any)...)
	})
}

func tryManager(t *testing.T, b block) {
	validateManager(t, func(manager map[string]any) {
		if err := yaml.Unmarshal([]byte(b.text), &manager); err != nil {
			t.Fatal(err)
		}
	})
}

func validateManager(t *testing.T, change func(manager map[string]any)) {
	t.Helper()
	content, err := os.ReadFile("http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	listener := config["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	chain := listener["filter_chains"].([]any)[0].(map[string]any)
	change(chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any))
	changed, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	validateEnvoy(t, string(changed))
}

// validateEnvoy has Envoy itself read a configuration.
func validateEnvoy(t *testing.T, config string) {
	t.Helper()
	envoy, err := startStack(t).installer.Envoy(parts.EnvoyNewest)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "-c", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// composeSchema is the Compose specification's own JSON Schema.
func composeSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	folder, err := startStack(t).installer.GoModule("compose-schema", "github.com/compose-spec/compose-go/v2", "v2.16.2",
		"h1:pTp1DqQwJzFd85GzlWsSszKA1ABrV/ySqsClujIcWA8=", "schema")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(folder, "compose-spec.json"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// tryCompose holds a Compose file against the specification's schema, and its variables against extauthz.
func tryCompose(t *testing.T, b block) {
	services, _ := validateCompose(t, b.text)["services"].(map[string]any)
	service, _ := services["extauthz"].(map[string]any)
	environment, _ := service["environment"].(map[string]any)
	if len(environment) == 0 {
		t.Fatal("no service extauthz with an environment")
	}
	lines := ""
	for name, value := range environment {
		lines += fmt.Sprintf("%s='%v'\n", name, value)
	}
	if fault := settingsFault(t, lines); fault != "" {
		t.Error(fault)
	}
}

func validateCompose(t *testing.T, text string) map[string]any {
	t.Helper()
	var file map[string]any
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	if err := composeSchema(t).Validate(file); err != nil {
		t.Error(err)
	}
	return file
}

// tryModule makes a module beside a copy of this repository as the page says.
func tryModule(t *testing.T, b block) { newEmbeddingModule(t, b.text) }

func newEmbeddingModule(t *testing.T, commands string) string {
	t.Helper()
	root := startStack(t).installer.Root()
	parent := t.TempDir()
	folder := filepath.Join(parent, "app")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(parent, "extauthz")); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksOf(t, "docs/embedding.md", readPage(t, "docs/embedding.md")) {
		if b.language == "go" && b.way == "program" {
			if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	command := exec.CommandContext(t.Context(), "bash", "-ec", "go mod init example.com/app\n"+commands)
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return folder
}

// tryProgram compiles the program in a module of its own, runs it and sends it a check.
func tryProgram(t *testing.T, b block) {
	commands := ""
	for _, other := range blocksOf(t, b.page, readPage(t, b.page)) {
		if other.language == "sh" && other.way == "module" {
			commands = other.text
		}
	}
	folder := newEmbeddingModule(t, commands)
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if !strings.Contains(b.text, `"127.0.0.1:9191"`) {
		t.Fatal("the program listens elsewhere")
	}
	if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(strings.Replace(b.text, "127.0.0.1:9191", address, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "app", ".")
	build.Dir = folder
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	process, err := parts.Start("embedded", folder, nil, exec.Command(filepath.Join(folder, "app")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Kill() })
	if err := process.Await(t.Context(), parts.AcceptsTCP(address)); err != nil {
		t.Fatal(err)
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answer, err := authv3.NewAuthorizationClient(connection).Check(t.Context(), &authv3.CheckRequest{})
	if err != nil || answer.GetDeniedResponse().GetStatus().GetCode() != 401 {
		t.Errorf("%v %v\n%s", answer, err, process.LogEnd())
	}
	if err := process.Stop(); err != nil {
		t.Errorf("at SIGTERM: %v\n%s", err, process.LogEnd())
	}
}

// backendHarness serves the page's dependency by FastAPI, and asks it as Envoy's headers would.
const backendHarness = `
import asyncio, json
from fastapi import Depends, FastAPI
app = FastAPI()
@app.get("/")
def me(user=Depends(current_user)):
    return user
async def ask(headers):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    await app({"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"",
        "root_path": "", "scheme": "http", "headers": headers, "client": ("127.0.0.2", 1), "server": ("127.0.0.1", 8000)}, receive, send)
    return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))
print(asyncio.run(ask([(b"x-user-id", b"u%2F1"), (b"x-user-name", b"Zo%C3%AB%20Day")])))
print(asyncio.run(ask([])))
`

func tryBackend(t *testing.T, b block) {
	python, err := startStack(t).installer.Backend()
	if err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), python, "-c", b.text+backendHarness).CombinedOutput()
	want := "(200, {'id': 'u/1', 'email': '', 'name': 'Zoë Day'})\n(401, {'detail': 'Not authenticated: Missing Authorization header'})\n"
	if err != nil || string(output) != want {
		t.Errorf("%v, want %q\n%s", err, want, output)
	}
}

// tryJWTOptions has Better Auth issue a token with the page's options, and looks at it.
func tryJWTOptions(t *testing.T, b block) {
	home, err := startStack(t).installer.Issuer()
	if err != nil {
		t.Fatal(err)
	}
	const place = "  // baseURL, secret, database, … as you have them\n"
	if strings.Count(b.text, place) != 1 {
		t.Fatalf("no line %q", place)
	}
	program := "import { memoryAdapter } from 'better-auth/adapters/memory';\n" +
		strings.Replace(b.text, place, `baseURL: "https://app.example.com", secret: "`+secret+`", telemetry: { enabled: false },
  database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }), emailAndPassword: { enabled: true },
`, 1) + `
const { headers } = await auth.api.signUpEmail({ body: { name: "Zoë", email: "zoe@example.com", password: "correct horse battery" }, returnHeaders: true });
const { token } = await auth.api.getToken({ headers: { authorization: "Bearer " + headers.get("set-auth-token") } });
const [head, claims] = token.split(".").slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));
console.log(head.alg, claims.iss, claims.aud, claims.exp - claims.iat);
`
	command := exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", program)
	command.Dir = home
	output, err := command.CombinedOutput()
	if want := "EdDSA https://app.example.com https://api.example.com 900\n"; err != nil || !strings.HasSuffix(string(output), want) {
		t.Errorf("%v, want %q\n%s", err, want, output)
	}
}

// tryFile holds the block against the file that it names, which another command compiles.
func tryFile(t *testing.T, b block) {
	name, _, _ := strings.Cut(b.why, ",")
	content, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	if string(content) != b.text {
		t.Errorf("it is not what %s says", name)
	}
}

// tryPart wants the block to stand in the file that it names, which other tests use.
func tryPart(t *testing.T, b block) {
	content, err := os.ReadFile(filepath.Join("..", b.why))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), b.text) {
		t.Errorf("it does not stand so in %s", b.why)
	}
}

// trySQL runs the statement on a table as Drizzle or Prisma make it.
func trySQL(t *testing.T, b block) {
	url, err := startStack(t).postgres.CreateDatabase(t.Context(), "docs_sql")
	if err != nil {
		t.Fatal(err)
	}
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	var kind, expiry string
	for _, statement := range []string{`create table "session" ("expiresAt" timestamp)`, `insert into "session" values ('2026-11-25 12:00:00')`, b.text} {
		if _, err := connection.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	err = connection.QueryRow(t.Context(), `select pg_typeof("expiresAt")::text, ("expiresAt" at time zone 'UTC')::text from "session"`).Scan(&kind, &expiry)
	if err != nil || kind != "timestamp with time zone" || expiry != "2026-11-25 12:00:00" {
		t.Errorf("%s %s %v", kind, expiry, err)
	}
}
