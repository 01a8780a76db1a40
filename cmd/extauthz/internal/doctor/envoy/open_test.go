package envoy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/extauthz/operator"
)

// Better Auth's own prefix is open as docs/better-auth.md has it, and said to be; anything like it is not.
func TestDoctorListsOpenRoutes(t *testing.T) {
	demo, err := os.ReadFile("../../../../../envoy/demo/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const auth, rest = "match: { prefix: /api/auth/ }\n                          route: { cluster: issuer", "- match: { prefix: / }\n"
	for _, row := range []struct {
		title, from, to string
		paths           []string
		want            []string // level, and the beginning of what was found
	}{
		{title: "the demo", paths: []string{"/api/auth/"}, want: []string{
			"ok site /api/auth/: not checked: Better Auth", "warning site /: not checked"}},
		{title: "another base path", from: auth, to: strings.Replace(auth, "/api/auth/", "/custom/", 1), paths: []string{"/api/auth/", "/custom/"},
			want: []string{"ok site /custom/: not checked: Better Auth", "warning site /: not checked"}},
		{title: "a base path that the settings do not have", from: auth, to: strings.Replace(auth, "/api/auth/", "/custom/", 1),
			paths: []string{"/api/auth/"}, want: []string{"warning site /, site /custom/: not checked"}},
		{title: "wider by a letter", from: auth, to: strings.Replace(auth, "/api/auth/", "/api/auth", 1), paths: []string{"/api/auth/"},
			want: []string{"warning site /, site /api/auth: not checked"}},
		{title: "as a whole path and what is below", from: auth,
			to: strings.Replace(auth, "prefix: /api/auth/", "path_separated_prefix: /api/auth", 1), paths: []string{"/api/auth/"},
			want: []string{"ok site /api/auth: not checked: Better Auth", "warning site /: not checked"}},
		{title: "to the backend, which believes identity headers; the demo removes them there", from: auth,
			to: strings.Replace(auth, "cluster: issuer", "cluster: backend", 1), paths: []string{"/api/auth/"},
			want: []string{"warning site /, site /api/auth/: not checked"}},
	} {
		content := string(demo)
		if row.from != "" {
			content = strings.Replace(content, row.from, row.to, 1)
			if content == string(demo) {
				t.Fatalf("the demo has no %q", row.from)
			}
		}
		if !strings.Contains(content, rest) {
			t.Fatal("the demo's front end is not where it was")
		}
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range Diagnose(t.Context(), path, nil, row.paths...) {
			if f.Tried == "open routes" {
				got = append(got, string(f.Level)+" "+f.Found)
			}
		}
		for _, want := range row.want {
			if !strings.Contains("\n"+strings.Join(got, "\n"), "\n"+want) {
				t.Errorf("%s: no %q in %q", row.title, want, got)
			}
		}
		if len(got) != len(row.want) {
			t.Errorf("%s: %q, want %q", row.title, got, row.want)
		}
	}
}

// Public routes by one exact path are listed, and a listener for statistics alone is no fault; one that leads further is.
func TestDoctorListsWhatStandsAside(t *testing.T) {
	for _, row := range []struct{ sample, from, to, want string }{
		{"envoy/public-routes.yaml", "", "", "ok backend /api/headers/public, backend /health: not checked, each by one exact path"},
		{"k8s/standalone/envoy.yaml", "", "", "ok stats /stats/prometheus: in a listener without the check"},
		{"k8s/standalone/envoy.yaml", "match: { path: /stats/prometheus }", "match: { prefix: /stats }", "warning not in stats"},
		{"k8s/standalone/envoy.yaml", "route: { cluster: admin }", "route: { cluster: backend }", "failure stats reaches cluster backend"},
	} {
		sample, err := os.ReadFile("../../../../../" + row.sample)
		if err != nil {
			t.Fatal(err)
		}
		content := strings.Replace(string(sample), row.from, row.to, 1)
		if row.from != "" && content == string(sample) {
			t.Fatalf("%s has no %q", row.sample, row.from)
		}
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range Diagnose(t.Context(), path, nil) {
			got = append(got, string(f.Level)+" "+f.Found)
			if f.Level != operator.LevelOK && f.Fix == "" {
				t.Errorf("%+v says not what to do", f)
			}
		}
		if !strings.Contains(strings.Join(got, "\n"), row.want) {
			t.Errorf("%s with %q: no %q in\n%s", row.sample, row.to, row.want, strings.Join(got, "\n"))
		}
	}
}
