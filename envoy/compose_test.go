package envoy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"extauthz/envoy/parts"
)

const composeFile = "compose/compose.yaml"

// composeImages are the images that a Compose file may name: those of the overlays and of the image's own Dockerfile, and the
// official ones of PostgreSQL, Python and Node.
var composeImages = []string{"docker.io/envoyproxy/envoy:v" + parts.EnvoyNewest, "docker.io/library/postgres:18", "docker.io/library/python:3.14-slim-bookworm",
	"docker.io/library/node:24-bookworm-slim"}

// The Compose file is one by the specification's schema, and everything that it names is there: images, folders, files, variables,
// and settings of extauthz. There is no engine here to run it.
func TestComposeFile(t *testing.T) {
	content, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	file := validateCompose(t, text)
	services := file["services"].(map[string]any)
	for _, image := range regexp.MustCompile(`(?m)(?:image: |FROM )(\S+)$`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(composeImages, image[1]) {
			t.Errorf("image %s", image[1])
		}
	}
	exists := func(what, path string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join("compose", path)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, s := range services {
		service := s.(map[string]any)
		if build, is := service["build"].(map[string]any); is {
			exists(name, build["context"].(string))
			if dockerfile, is := build["dockerfile"].(string); is {
				exists(name, filepath.Join(build["context"].(string), dockerfile))
			}
			inline, _ := build["dockerfile_inline"].(string)
			for _, copied := range regexp.MustCompile(`(?m)^COPY (?:--\S+ )?(\S+) `).FindAllStringSubmatch(inline, -1) {
				exists(name, filepath.Join(build["context"].(string), copied[1]))
			}
		}
		volumes, _ := service["volumes"].([]any)
		for _, volume := range volumes {
			if source, _, _ := strings.Cut(volume.(string), ":"); strings.HasPrefix(source, ".") {
				exists(name, source)
			} else if _, declared := file["volumes"].(map[string]any)[source]; !declared {
				t.Errorf("%s: volume %s is not declared", name, source)
			}
		}
	}
	example, err := os.ReadFile("compose/.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(string(example), "\n"+variable[1]+"=") {
			t.Errorf(".env.example has no %s", variable[1])
		}
	}
	web, err := os.ReadFile("demo/web/lib/env.ts")
	if err != nil {
		t.Fatal(err)
	}
	for name := range services["web"].(map[string]any)["environment"].(map[string]any) {
		if !strings.Contains(string(web), `"`+name+`"`) {
			t.Errorf("the front end knows no %s", name)
		}
	}
	command := exec.CommandContext(t.Context(), startStack(t).binary, "serve", "--dry-run")
	command.Env = composeEnvironment(services["extauthz"])
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	api := services["api"].(map[string]any)
	if api["network_mode"] != "none" || api["ports"] != nil || api["networks"] != nil {
		t.Error("the API can be reached by a network")
	}
	published := 0
	for _, s := range services {
		ports, _ := s.(map[string]any)["ports"].([]any)
		published += len(ports)
	}
	if ports, _ := services["envoy"].(map[string]any)["ports"].([]any); published != 1 || len(ports) != 1 || ports[0] != "127.0.0.1:8080:8080" {
		t.Error("something else is published than Envoy, on loopback")
	}
}

// composeEnvironment is a service's environment with what .env would give.
func composeEnvironment(service any) (environment []string) {
	given := strings.NewReplacer("${PUBLIC_URL:?}", "http://localhost:8080", "${API_AUDIENCE:?}", audience, "${BETTER_AUTH_SECRET:?}", secret,
		"${READER_PASSWORD:?}", "0123456789abcdef")
	for name, value := range service.(map[string]any)["environment"].(map[string]any) {
		environment = append(environment, name+"="+given.Replace(fmt.Sprint(value)))
	}
	return environment
}

// What the containers would run, without them: Envoy with the sample, extauthz, the API by uvicorn on its socket, and Better Auth in
// the front end's place.
func TestComposeConfiguration(t *testing.T) {
	s := startStack(t)
	folder, err := os.MkdirTemp("", "extauthz-compose-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "api.sock")
	python, err := s.installer.Backend()
	if err != nil {
		t.Fatal(err)
	}
	uvicorn := exec.Command(python, "-m", "uvicorn", "main:app", "--uds", socket, "--no-proxy-headers")
	uvicorn.Dir = "compose/api"
	api, err := parts.Start("api", folder, []string{"PYTHONDONTWRITEBYTECODE=1"}, uvicorn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Stop() })
	eventually(t, "the API's socket", func() bool { _, err := os.Stat(socket); return err == nil })

	here := func(config string) string {
		for _, pair := range [][2]string{
			{"type: STRICT_DNS", "type: STATIC"}, {"address: extauthz,", "address: 127.0.0.1,"}, {"address: web,", "address: 127.0.0.1,"},
			{"address: 0.0.0.0,", "address: 127.0.0.1,"}, {"/run/api/api.sock", socket},
		} {
			if !strings.Contains(config, pair[0]) {
				t.Errorf("no %q in the configuration", pair[0])
			}
			config = strings.ReplaceAll(config, pair[0], pair[1])
		}
		return config
	}
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			m := startMeshWith(t, version, "compose/envoy.yaml", here)
			p := m.signUp(t, "Zoë Day")
			for _, row := range []struct {
				what, path string
				header     map[string]string
				status     int
				body       string
			}{
				{"no credential", "/api/me", nil, 401, "Not authenticated"},
				{"x-user-id of the client's own", "/api/me", map[string]string{"X-User-Id": "admin"}, 401, "Not authenticated"},
				{"a forged cookie", "/api/me", map[string]string{"Cookie": p.cookie + "x"}, 401, "Invalid token"},
				{"Better Auth, unchecked", "/api/auth/ok", nil, 200, `"ok":true`},
				{"Better Auth by another spelling", "/api/../api/auth//ok", nil, 200, `"ok":true`},
				{"out of Better Auth's routes", "/api/auth/../me", map[string]string{"X-User-Id": "admin"}, 401, "Not authenticated"},
				{"an escaped slash", "/api/auth/..%2fme", map[string]string{"X-User-Id": "admin"}, 400, ""},
				{"a page, which is the front end's", "/", map[string]string{"X-User-Id": "admin"}, 404, ""},
			} {
				if a := m.get(t, row.path, row.header); a.status != row.status || !strings.Contains(a.body, row.body) {
					t.Errorf("%s: %d %s", row.what, a.status, a.body)
				}
			}
			for what, header := range map[string]map[string]string{
				"JWT": bearer(p.jwt), "session token": bearer(p.raw), "cookie": {"Cookie": p.cookie},
				"JWT beside x-user-id": {"Authorization": "Bearer " + p.jwt, "X-User-Id": "admin"},
			} {
				a := m.get(t, "/api/me", header)
				var me struct{ ID, Name, Email string }
				if err := json.Unmarshal([]byte(a.body), &me); err != nil || a.status != http.StatusOK || me.ID != p.id || me.Name != p.name || me.Email != p.email {
					t.Errorf("%s: %d %s", what, a.status, a.body)
				}
			}
		})
	}
	t.Run("routes that are not checked", func(t *testing.T) {
		page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name := range r.Header {
				fmt.Fprintln(w, name)
			}
		}))
		t.Cleanup(page.Close)
		_, port, err := net.SplitHostPort(page.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		m := startMeshWith(t, parts.EnvoyNewest, "compose/envoy.yaml", func(config string) string {
			return here(strings.ReplaceAll(config, "port_value: 3000 ", "port_value: "+port+" "))
		})
		p := m.signUp(t, "Zoë Day")
		if a := m.get(t, "/api/me", bearer(p.jwt)); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
		for _, path := range []string{"/", "/sign-in", "/api/auth/anything"} {
			for batch := range slices.Chunk(spoofedNames(), 50) {
				header := map[string]string{"X-Other": "1"}
				for _, name := range batch {
					header[name] = "admin"
				}
				a := m.get(t, path, header)
				if a.status != http.StatusOK || !strings.Contains(a.body, "X-Other") || slices.ContainsFunc(strings.Fields(a.body), isOurs.MatchString) {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
		}
	})
	// The fact that the API rests on: it has opened no port.
	if output, err := os.ReadFile(api.Log); err != nil || !strings.Contains(string(output), "Uvicorn running on unix socket "+socket) {
		t.Errorf("%v\n%s", err, output)
	}
}
