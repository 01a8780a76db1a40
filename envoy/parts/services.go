package parts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// IssuerSettings say how Better Auth is set up.
type IssuerSettings struct {
	Port           int
	URL            string // Better Auth's base URL, the tokens' iss
	Audience       string // the tokens' aud
	Secret         string
	DatabaseURL    string
	TrustedOrigins string // comma-separated
	Algorithm      string // of the JWTs; empty for Better Auth's default
	IsLimited      bool   // by Better Auth's own rate limit, which is on in production
	Plugins        string // of Better Auth's beside those that it always has, comma-separated: admin, organization
}

// StartIssuer runs Better Auth on 127.0.0.1; it brings its tables up itself.
func (in *Installer) StartIssuer(ctx context.Context, folder string, s IssuerSettings) (*Process, error) {
	program, err := in.Issuer()
	if err != nil {
		return nil, err
	}
	command := exec.Command("node", "server.mjs")
	command.Dir = program
	env := []string{"ISSUER_ADDRESS=127.0.0.1", "ISSUER_PORT=" + strconv.Itoa(s.Port),
		"TRUSTED_ORIGINS=" + s.TrustedOrigins, "JWT_ALGORITHM=" + s.Algorithm,
		"BETTER_AUTH_PLUGINS=" + s.Plugins}
	if s.IsLimited {
		env = append(env, "NODE_ENV=production")
	}
	return s.start(ctx, "issuer", "/api/auth/ok", folder, command, env...)
}

// StartWeb runs the Next.js front end with Better Auth in it on 127.0.0.1; it brings its tables up itself.
func (in *Installer) StartWeb(ctx context.Context, folder string, s IssuerSettings, env ...string) (*Process, error) {
	program, err := in.Web()
	if err != nil {
		return nil, err
	}
	command := exec.Command("node", "node_modules/next/dist/bin/next", "start", "--hostname", "127.0.0.1", "--port",
		strconv.Itoa(s.Port))
	command.Dir = program
	return s.start(ctx, "web", "/sign-in", folder, command,
		append(env, "NEXT_TELEMETRY_DISABLED=1", "NODE_ENV=production")...)
}

// start runs a program with Better Auth in it, with what either is told, and waits until it answers at the path ready.
func (s *IssuerSettings) start(
	ctx context.Context, name, ready, folder string, command *exec.Cmd, env ...string,
) (*Process, error) {
	process, err := Start(name, folder, append([]string{
		"BETTER_AUTH_URL=" + s.URL, "BETTER_AUTH_SECRET=" + s.Secret, "API_AUDIENCE=" + s.Audience,
		"DATABASE_URL=" + s.DatabaseURL, "BETTER_AUTH_TELEMETRY=0",
	}, env...), command)
	if err != nil {
		return nil, err
	}
	return process, process.Await(ctx, AnswersHTTP(fmt.Sprintf("http://127.0.0.1:%d%s", s.Port, ready), 200))
}

// BackendSocket is where the sample configurations have the backend.
const BackendSocket = "/run/backend/backend.sock"

// BackendPipe is how they write it.
const BackendPipe = "{ pipe: { path: " + BackendSocket + " } }"

// BackendPort is a port of this machine in its place, for a backend of a test's own.
func BackendPort(port int) string {
	return fmt.Sprintf("{ socket_address: { address: 127.0.0.1, port_value: %d } }", port)
}

// StartBackend runs the FastAPI backend at a Unix socket, in a folder that it makes for this user alone: uvicorn lets
// everybody write to the socket itself.
func (in *Installer) StartBackend(ctx context.Context, folder, socket string) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, err
	}
	process, err := in.StartPython(folder, "backend", filepath.Join(in.root, "envoy", "demo", "backend"), "--uds", socket)
	if err != nil {
		return nil, err
	}
	return process, process.Await(ctx, AnswersUnix(socket, "/health", 200))
}

// StartPython runs main:app of a folder of Python by uvicorn, as in the command line that begins so, in the backend's
// environment.
func (in *Installer) StartPython(folder, name, source string, arguments ...string) (*Process, error) {
	python, err := in.Backend()
	if err != nil {
		return nil, err
	}
	command := exec.Command(python,
		append([]string{"-m", "uvicorn", "main:app", "--log-level", "warning"}, arguments...)...)
	command.Dir = source
	return Start(name, folder, []string{"PYTHONDONTWRITEBYTECODE=1"}, command)
}

// StartEnvoy runs Envoy with one worker and waits until its listener takes connections.
func (in *Installer) StartEnvoy(ctx context.Context, folder, version, config, listener string) (*Process, error) {
	path, err := in.Envoy(version)
	if err != nil {
		return nil, err
	}
	// No hot restart: it would want shared memory, and a number for each Envoy of this machine. The access log is
	// written at once and not every ten seconds.
	process, err := Start("envoy", folder, nil,
		exec.Command(path, "-c", config, "--concurrency", "1", "--disable-hot-restart",
			"--log-level", "warning", "--file-flush-interval-msec", "100"))
	if err != nil {
		return nil, err
	}
	return process, process.Await(ctx, AcceptsTCP(listener))
}

// StartExtauthz runs the product's binary and waits until it answers on its admin address; it may
// not be ready yet.
func StartExtauthz(ctx context.Context, folder, binary, admin string, env ...string) (*Process, error) {
	process, err := Start("extauthz", folder, append(env, "EXTAUTHZ_ADMIN_LISTEN="+admin), exec.Command(binary, "serve"))
	if err != nil {
		return nil, err
	}
	return process, process.Await(ctx, AnswersHTTP("http://"+admin+"/healthz", 200))
}

// BuildExtauthz compiles the product into folder.
func (in *Installer) BuildExtauthz(folder string) (string, error) {
	binary := filepath.Join(folder, "extauthz")
	command := exec.Command("go", "build", "-o", binary, "./cmd/extauthz")
	command.Dir = in.root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return binary, nil
}
