package envoy

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/envoy/parts"
)

// freshCopy is the repository as somebody gets it who has just cloned it: without what was built or installed.
func freshCopy(t *testing.T, root string) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "stranger-") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(folder, strings.TrimPrefix(path, root))
		switch name := entry.Name(); {
		case entry.IsDir() && (name == ".git" || name == ".parts" || name == "bin" || name == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case entry.Type().IsRegular() && name != ".git":
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			return os.WriteFile(target, content, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// Somebody who has never seen the project follows README and the page for newcomers to the letter, on a fresh copy, with
// addresses of their own where the pages have examples. What they end with is closed: nobody is admin by saying so, at
// the backend's own address, through Envoy, or on a public path.
func TestStranger(t *testing.T) {
	s := startStack(t)
	p := s.signUp(t, "Zoë Day")
	here := freshCopy(t, s.installer.Root())
	var ports [4]int
	for i := range ports {
		var err error
		if ports[i], err = parts.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	listener, checks, admin, envoyAdmin := itoa(ports[0]), itoa(ports[1]), itoa(ports[2]), itoa(ports[3])
	backend := filepath.Join(here, "run")
	words := strings.NewReplacer(
		"https://app.example.com", s.issuerURL, "https://api.example.com", audience,
		"/run/secrets/better-auth-secret", here+"/secret", "postgresql+asyncpg://reader:…@db/app?ssl=require", s.reader,
		"/run/backend", backend, "-o backend", "-o "+itoa(os.Getuid()), "-g envoy", "-g "+itoa(os.Getgid()),
		"port_value: 8080 ", "port_value: "+listener+" ", "port_value: 9191 ", "port_value: "+checks+" ",
		"port_value: 9901 ", "port_value: "+envoyAdmin+" ",
	)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(here, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("secret", secret)
	environment := append(os.Environ(), "EXTAUTHZ_LISTEN=127.0.0.1:"+checks, "EXTAUTHZ_ADMIN_LISTEN=127.0.0.1:"+admin, "TOKEN="+p.jwt)
	run := func(name, commands string) *parts.Process {
		t.Helper()
		command := exec.Command("bash", "-euc", words.Replace(commands))
		command.Dir = here
		process, err := parts.Start(name, here, environment, command)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			process.Stop()
			if t.Failed() {
				t.Logf("%s:\n%s", name, process.LogEnd())
			}
		})
		return process
	}

	// README, 1 and 2: build it, start it, check a token of one's own.
	start := fencedBlock(t, "README.md", "bin/extauthz serve\n")
	const serve = "bin/extauthz serve"
	if strings.Count(start, serve) != 1 {
		t.Fatalf("README starts it in another way:\n%s", start)
	}
	extauthz := run("extauthz-serve", strings.Replace(start, serve, "exec "+serve, 1))
	if err := extauthz.Await(t.Context(), parts.AnswersHTTP("http://127.0.0.1:"+admin+"/readyz", 200)); err != nil {
		t.Fatal(err)
	}
	settings, _, _ := strings.Cut(strings.ReplaceAll(start, "make build", ""), serve)
	check := run("extauthz-check", settings+fencedBlock(t, "README.md", "bin/extauthz check"))
	if <-check.Done(); !strings.Contains(check.LogEnd(), "allow") {
		t.Errorf("the token is not explained as good:\n%s", check.LogEnd())
	}

	// README, 4, and better-auth.md, 4: the backend reads headers, at a Unix socket that Envoy alone reaches.
	write("main.py", fencedBlock(t, "docs/better-auth.md", "app = FastAPI()"))
	commands := fencedBlock(t, "README.md", "uvicorn main:app")
	if commands != fencedBlock(t, "docs/better-auth.md", "uvicorn main:app") {
		t.Error("README.md and docs/better-auth.md close the backend in different ways")
	}
	python, err := s.installer.Backend()
	if err != nil {
		t.Fatal(err)
	}
	environment = append(environment, "PATH="+filepath.Dir(python)+":"+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1")
	app := run("uvicorn", strings.Replace(commands, "uvicorn main:app", "exec uvicorn main:app", 1))
	socket := filepath.Join(backend, "backend.sock")
	if err := app.Await(t.Context(), parts.AnswersUnix(socket, "/health", 200)); err != nil {
		t.Fatal(err)
	}

	// README, 3: one of the samples, with its addresses changed.
	sample, err := os.ReadFile(filepath.Join(here, "envoy", "public-routes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write("envoy.yaml", words.Replace(string(sample)))
	envoy, err := s.installer.StartEnvoy(t.Context(), here, parts.EnvoyNewest, filepath.Join(here, "envoy.yaml"), "127.0.0.1:"+listener)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { envoy.Stop() })
	url := "http://127.0.0.1:" + listener
	eventually(t, "an answer of extauthz through Envoy", func() bool { return send(t, "GET", url+"/api/me", nil, "").status == 401 })

	// What it ended with. A 503 is a busy machine's, and nobody's verdict.
	ask := func(path string, header map[string]string) (a answer) {
		t.Helper()
		eventually(t, "a verdict on "+path, func() bool {
			a = send(t, "GET", url+path, header, "")
			if a.status == http.StatusServiceUnavailable {
				t.Logf("%s: 503 %q, asked again", path, a.body)
			}
			return a.status != http.StatusServiceUnavailable
		})
		return a
	}
	own := bearer(p.jwt)
	if a := ask("/api/me", own); a.status != 200 || !strings.Contains(a.body, p.id) {
		t.Errorf("with a token: %d %s", a.status, a.body)
	}
	for _, name := range []string{"x-user-id", "X-User-Id", "x.user.id", "x-user.id", "x~user~id"} {
		own[name] = "admin"
		if a := ask("/api/me", map[string]string{name: "admin"}); a.status != 401 {
			t.Errorf("%s: admin and no credential: %d %s", name, a.status, a.body)
		}
		if a := ask("/health", map[string]string{name: "admin"}); a.status != 200 || a.body != `{"status":"ok","user":null}` {
			t.Errorf("%s: admin on a public path: %d %s", name, a.status, a.body)
		}
	}
	if a := ask("/api/me", own); a.status != 200 || !strings.Contains(a.body, p.id) || strings.Contains(a.body, "admin") {
		t.Errorf("with a token and as admin: %d %s", a.status, a.body)
	}
	if ports := listensOn(t, app.PID()); len(ports) > 0 {
		t.Errorf("the backend listens on TCP: %q", ports)
	}

	// README, 5: that it holds, as a user who is not Envoy.
	const asNobody = "sudo -u nobody bin/extauthz doctor "
	doctor := fencedBlock(t, "README.md", asNobody)
	arguments := strings.Fields(strings.ReplaceAll(strings.TrimPrefix(words.Replace(doctor), asNobody), "'", ""))
	if err := os.Chmod(here, 0o755); err != nil { // so that the socket's own folder is what refuses
		t.Fatal(err)
	}
	output, status := s.asNobody(t, arguments...)
	expectRefused(t, output, status)
	for _, page := range []string{"README.md", "docs/better-auth.md"} {
		for _, said := range []string{"refused: permission denied", "4 ok, 0 to look at, 0 failing"} {
			if !strings.Contains(output, said) || !strings.Contains(readPage(t, page), "`"+said+"`") {
				t.Errorf("%s does not say %q, or doctor does not:\n%s", page, said, output)
			}
		}
	}
}

// listensOn are the local addresses of a program's listening TCP sockets.
func listensOn(t *testing.T, pid int) (found []string) {
	t.Helper()
	inodes := map[string]bool{}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of process %d (%v)", pid, err)
	}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil {
			inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(content)) {
			// proc(5): local address in the second column, state in the fourth (0A listens), inode in the tenth.
			if fields := strings.Fields(line); len(fields) > 9 && fields[3] == "0A" && inodes[fields[9]] {
				found = append(found, fields[1])
			}
		}
	}
	return found
}
