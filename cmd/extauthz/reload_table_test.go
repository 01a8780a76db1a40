package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/bubble"
	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
	"extauthz/extauthz"
)

// rig is a reloader on files of its own.
type rig struct {
	*reloader
	folder folder
	log    *commandtest.Buffer
	swaps  []extauthz.Secrets // what was put in force, one after the other
}

func newRig(t *testing.T, environment map[string]string, files map[string]string) *rig {
	t.Helper()
	path := t.TempDir()
	(&rig{folder: folder{t, path}}).write(files)
	return newRigAt(t, path, environment)
}

// newRigAt begins with the files of a folder.
func newRigAt(t *testing.T, path string, environment map[string]string) *rig {
	t.Helper()
	g := &rig{folder: folder{t, path}, log: &commandtest.Buffer{}}
	read := func() (*settings.Settings, error) {
		s, _, err := sources.Load("serve", nil, func(name string) string {
			return strings.ReplaceAll(environment[name], "DIR", g.folder.path)
		}, nil)
		return s, err
	}
	s, err := read()
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	g.reloader = newReloader(s, read, level, slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	g.replace = func(secrets extauthz.Secrets) { g.swaps = append(g.swaps, secrets) }
	return g
}

// write changes files; DIR in them is their folder, and a file of no content at all is removed.
func (g *rig) write(files map[string]string) {
	g.folder.t.Helper()
	for name, content := range files {
		if content == "" {
			if err := os.Remove(filepath.Join(g.folder.path, name)); err != nil {
				g.folder.t.Fatal(err)
			}
			continue
		}
		g.folder.write(name, strings.ReplaceAll(content, "DIR", g.folder.path))
	}
}

func (g *rig) told() string {
	g.log.Mu.Lock()
	defer g.log.Mu.Unlock()
	defer g.log.Buffer.Reset()
	return g.log.Buffer.String()
}

// Every change is whole, or refused whole and told once; secrets of the settings in force are followed all the while.
func TestReloadTable(t *testing.T) {
	const (
		unchanged, changed, refused = outcomeUnchanged, outcomeChanged, outcomeRefused
		y                           = "better-auth-secret-file: DIR/a\n"
	)
	type step struct {
		files  map[string]string
		want   outcome
		secret string // in force after it
		told   string // in the log; empty for nothing of warning or worse
	}
	for _, row := range []struct {
		title       string
		environment map[string]string
		files       map[string]string
		steps       []step
	}{
		{"a secret's file is rotated", map[string]string{"BETTER_AUTH_SECRET_FILE": "DIR/a"}, map[string]string{"a": secretA}, []step{
			{nil, unchanged, secretA, ""},
			{map[string]string{"a": secretB + "\n"}, changed, secretB, ""},
			{nil, unchanged, secretB, ""},
			{map[string]string{"a": "  "}, refused, secretB, "holds nothing but white space"},
			{nil, refused, secretB, ""}, // told once
			{map[string]string{"a": ""}, refused, secretB, "no such file"},
			{map[string]string{"a": secretA}, changed, secretA, ""},
		}},
		{"paths of secrets with an audience", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y, "a": secretA, "b": secretB}, []step{
			{map[string]string{"y": "better-auth-secret-file: DIR/b\napi-audience: other\n"}, refused, secretA, "API_AUDIENCE"},
			{nil, refused, secretA, ""},
			{map[string]string{"a": secretC}, refused, secretC, ""}, // followed all the same
			{map[string]string{"b": secretC + "x"}, refused, secretC, ""},
			{map[string]string{"y": "better-auth-secret-file: DIR/b\napi-audience: third\n"}, refused, secretC, "API_AUDIENCE"}, // another change
			{map[string]string{"y": y}, unchanged, secretC, ""},                                                                 // taken back
			{map[string]string{"y": "better-auth-secret-file: DIR/b\n"}, changed, secretC + "x", ""},
		}},
		{"a line is taken out", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y + "log-level: warn\n", "a": secretA}, []step{
			{map[string]string{"y": "log-level: warn\n"}, refused, secretA, "turn off HS256"},
			{map[string]string{"y": y}, changed, secretA, ""},
		}},
		{"the file of settings is broken, then whole", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y, "a": secretA, "b": secretB}, []step{
			{map[string]string{"y": "better-auth-"}, refused, secretA, "is no mapping"},
			{map[string]string{"y": "# later"}, refused, secretA, "is empty"},
			{map[string]string{"y": "better-auth-secret-file: DIR/b\n"}, changed, secretB, ""},
			{map[string]string{"y": ""}, refused, secretB, "no such file"},
			{map[string]string{"b": secretC}, refused, secretC, ""},
			{map[string]string{"y": y}, changed, secretA, ""},
		}},
		{"one secret becomes several", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y, "a": secretA, "b": "2:" + secretB + ",1:" + secretA}, []step{
			{map[string]string{"y": "better-auth-secrets-file: DIR/b\nformer-secrets: [hs256, sessions]\n"}, changed, secretB, ""},
			{map[string]string{"b": "2:" + secretB}, changed, secretB, ""},
			{map[string]string{"b": "nonsense"}, refused, secretB, "is not version:secret"},
		}},
		{"both files of one secret", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y", "BETTER_AUTH_SECRET": secretA}, map[string]string{"y": "log-level: warn\n", "b": secretB}, []step{
			{map[string]string{"y": "better-auth-secret-file: DIR/b\n"}, refused, secretA, "are both set"},
			{map[string]string{"y": "log-level: error\n"}, changed, secretA, ""},
		}},
		{"what stands in the proxy's file", map[string]string{"JWKS_PROXY_FILE": "DIR/p", "BETTER_AUTH_SECRET_FILE": "DIR/a"}, map[string]string{"p": "http://u:one@proxy:1", "a": secretA}, []step{
			{map[string]string{"p": "http://u:two@proxy:1"}, refused, secretA, "JWKS_PROXY_FILE"},
			{nil, refused, secretA, ""},
			{map[string]string{"a": secretB}, refused, secretB, ""},
			{map[string]string{"p": "http://u:one@proxy:1"}, unchanged, secretB, ""},
		}},
		{"the database's file moves", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"},
			map[string]string{"y": y + "database-url-file: DIR/d\n", "a": secretA, "d": "postgresql://u:p@db/app", "e": "postgresql://u:q@other/app", "f": "mysql://u:q@other/app"}, []step{
				{map[string]string{"d": "postgresql://u:r@db/app"}, unchanged, secretA, ""}, // which the database follows itself
				{map[string]string{"y": y + "database-url-file: DIR/f\n"}, refused, secretA, "line 2: database-url-file begins with"},
				{map[string]string{"y": y + "database-url-file: DIR/e\n"}, changed, secretA, ""},
				{map[string]string{"y": y}, refused, secretA, "DATABASE_URL_FILE"},
				{map[string]string{"y": y + "database-url-file: DIR/e\n", "e": ""}, refused, secretA, "no such file"},
				{map[string]string{"a": secretB}, refused, secretB, ""}, // a database's missing file keeps no secret from its rotation
			}},
	} {
		t.Run(row.title, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				g := newRig(t, row.environment, row.files)
				for i, step := range row.steps {
					g.write(step.files)
					if got := g.look(t.Context()); got != step.want {
						t.Errorf("step %d: %s, want %s", i, got, step.want)
					}
					s := g.inForce.Load()
					if got := string(s.Config.Secret); got != step.secret {
						t.Errorf("step %d: %q is in force, want %q", i, got, step.secret)
					}
					if last := len(g.swaps) - 1; last >= 0 && string(g.swaps[last].Current) != step.secret {
						t.Errorf("step %d: %q was handed on, want %q", i, g.swaps[last].Current, step.secret)
					}
					told := g.told()
					if warned := strings.Contains(told, "level=WARN"); warned != (step.told != "") || !strings.Contains(told, step.told) {
						t.Errorf("step %d: told %q, want %q", i, told, step.told)
					}
					if strings.Contains(told, "secret-") && strings.Contains(told, "-of-more-than") {
						t.Errorf("step %d: a secret was told: %s", i, told)
					}
				}
			})
		})
	}
}

// A Kubernetes volume is another folder to which one symlink moves: all its files change in one moment, and so do the
// settings.
func TestReloadFollowsAVolume(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		publish := func(version string, files map[string]string) {
			t.Helper()
			if err := os.Mkdir(filepath.Join(folder, version), 0o700); err != nil {
				t.Fatal(err)
			}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(folder, version, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			fresh := filepath.Join(folder, "..fresh")
			if err := os.Symlink(version, fresh); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(fresh, filepath.Join(folder, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		publish("..1", map[string]string{"secrets": "1:" + secretA, "y": "better-auth-secrets-file: DIR/secrets\n"})
		for _, name := range []string{"secrets", "y"} {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)); err != nil {
				t.Fatal(err)
			}
		}
		g := newRigAt(t, folder, map[string]string{"BETTER_AUTH_SECRETS_FILE": "DIR/secrets", "EXTAUTHZ_CONFIG": "DIR/y"})
		publish("..2", map[string]string{"secrets": "2:" + secretB + ",1:" + secretA, "y": "former-secrets: hs256\n"})
		if came := g.look(t.Context()); came != outcomeChanged || len(g.swaps) != 1 || string(g.swaps[0].Current) != secretB || !g.swaps[0].FormerForHS256 {
			t.Errorf("%s, %d swaps; %s", came, len(g.swaps), g.told())
		}
		publish("..3", map[string]string{"y": "former-secrets: hs256\n"}) // the key has gone from the Secret
		if came := g.look(t.Context()); came != outcomeRefused || len(g.swaps) != 1 {
			t.Errorf("%s, %d swaps; %s", came, len(g.swaps), g.told())
		}
	})
}

// Each fault that the library finds in its configuration belongs to a setting, whose name the command gives.
func TestEveryConfigFaultHasItsSetting(t *testing.T) {
	sources, err := filepath.Glob("../../extauthz/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:ConfigError\{|checkURL\()"(\w+)"`)
	found := 0
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(content), -1) {
			found++
			if match[1] == "Metrics" || match[1] == "TracerProvider" { // the command's own, and no setting
				continue
			}
			if !slices.ContainsFunc(settings.Table, func(s settings.Setting) bool { return s.Field == match[1] }) {
				t.Errorf("%s: a fault of %s belongs to no setting", source, match[1])
			}
		}
	}
	if found < 5 {
		t.Errorf("%d faults were looked at", found)
	}
}

// What former secrets are good for and the secrets are handed on as one, and the log level is the new one.
func TestReloadHandsOnWhatFormerSecretsAreGoodFor(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newRig(t, map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": "better-auth-secret-file: DIR/a\n", "a": secretA})
		g.write(map[string]string{"s": "2:" + secretB + ",1:" + secretA, "y": "better-auth-secrets-file: DIR/s\nformer-secrets: hs256\nlog-level: debug\n"})
		if g.look(t.Context()) != outcomeChanged || len(g.swaps) != 1 {
			t.Fatalf("%d swaps, want one; %s", len(g.swaps), g.told())
		}
		swap := g.swaps[0]
		if string(swap.Current) != secretB || !slices.EqualFunc(swap.Former, [][]byte{[]byte(secretA)}, bytes.Equal) || !swap.FormerForHS256 || swap.FormerForSessions {
			t.Error("the swap is not what the settings say")
		}
		if g.level.Level() != slog.LevelDebug {
			t.Errorf("log level %s", g.level.Level())
		}
	})
}

// Files that are being replaced while they are read are never put in force half: what two readings do not agree on
// waits.
func TestReloadWaitsForFilesToSettle(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newRig(t, map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": "better-auth-secret-file: DIR/a\n", "a": secretA})
		state := func(secret, level string) *settings.Settings {
			g.write(map[string]string{"a": secret, "y": "better-auth-secret-file: DIR/a\nlog-level: " + level + "\n"})
			s, _, err := sources.Load("serve", []string{"--config", filepath.Join(g.folder.path, "y")}, func(string) string { return "" }, nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		half, whole := state(secretA, "warn"), state(secretB, "warn")
		fault := errors.New("half written")
		readings := []any{fault, half, whole, whole}
		g.read = func() (*settings.Settings, error) {
			next := readings[0]
			readings = readings[1:]
			if err, isError := next.(error); isError {
				return nil, err
			}
			return next.(*settings.Settings), nil
		}
		if came := g.look(t.Context()); came != outcomeChanged || len(g.swaps) != 1 || string(g.swaps[0].Current) != secretB {
			t.Errorf("%s, %d swaps", came, len(g.swaps))
		}
		if told := g.told(); strings.Contains(told, "WARN") {
			t.Errorf("what was half written for a moment was told: %s", told)
		}
		// What goes on changing changes nothing, and does not hold the loop for ever.
		i := 0
		states := []*settings.Settings{half, whole}
		g.read = func() (*settings.Settings, error) { i++; return states[i%2], nil }
		g.inForce.Store(state(secretC, "warn"))
		started := time.Now()
		if came := g.look(t.Context()); came != outcomeUnchanged || len(g.swaps) != 1 {
			t.Errorf("%s, %d swaps", came, len(g.swaps))
		}
		if took := time.Since(started); took > maxSettling+settleTime {
			t.Errorf("it waited %s", took)
		}
		// A fault of the reader's is told without what it read, and the loop goes on.
		g.read = func() (*settings.Settings, error) { panic(secretA) }
		if came := g.look(t.Context()); came != outcomeRefused || strings.Contains(g.told(), secretA) {
			t.Errorf("%s", came)
		}
	})
}

// The help names what can change at run time, and so do the docs.
func TestReloadableSettingsAreDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range settings.Live {
		if variable == "BETTER_AUTH_SECRET" || variable == "BETTER_AUTH_SECRETS" {
			continue // of the environment alone, which does not change
		}
		if !strings.Contains(serveHelp, variable) || !strings.Contains(string(docs), "`"+variable+"`") {
			t.Errorf("%s is not documented as one that can change", variable)
		}
	}
}
