package reload

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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
	*Reloader
	folder commandtest.Folder
	log    *commandtest.Buffer
	swaps  []extauthz.Secrets // what was put in force, one after the other
}

func newRig(t *testing.T, environment map[string]string, files map[string]string) *rig {
	t.Helper()
	path := t.TempDir()
	(&rig{folder: commandtest.Folder{T: t, Path: path}}).write(files)
	return newRigAt(t, path, environment)
}

// newRigAt begins with the files of a folder.
func newRigAt(t *testing.T, path string, environment map[string]string) *rig {
	t.Helper()
	g := &rig{folder: commandtest.Folder{T: t, Path: path}, log: &commandtest.Buffer{}}
	read := func() (*settings.Settings, error) {
		s, _, err := sources.Load("serve", nil, func(name string) string {
			return strings.ReplaceAll(environment[name], "DIR", g.folder.Path)
		}, nil)
		return s, err
	}
	s, err := read()
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	g.Reloader = New(s, read, level, slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	g.Replace = func(secrets extauthz.Secrets) { g.swaps = append(g.swaps, secrets) }
	return g
}

// write changes files; DIR in them is their folder, and a file of no content at all is removed.
func (g *rig) write(files map[string]string) {
	g.folder.T.Helper()
	for name, content := range files {
		if content == "" {
			if err := os.Remove(filepath.Join(g.folder.Path, name)); err != nil {
				g.folder.T.Fatal(err)
			}
			continue
		}
		g.folder.Write(name, strings.ReplaceAll(content, "DIR", g.folder.Path))
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
		want   Outcome
		secret string // in force after it
		told   string // in the log; empty for nothing of warning or worse
	}
	for _, row := range []struct {
		title       string
		environment map[string]string
		files       map[string]string
		steps       []step
	}{
		{"a secret's file is rotated", map[string]string{"BETTER_AUTH_SECRET_FILE": "DIR/a"}, map[string]string{"a": commandtest.SecretA}, []step{
			{nil, unchanged, commandtest.SecretA, ""},
			{map[string]string{"a": commandtest.SecretB + "\n"}, changed, commandtest.SecretB, ""},
			{nil, unchanged, commandtest.SecretB, ""},
			{map[string]string{"a": "  "}, refused, commandtest.SecretB, "is only white space"},
			{nil, refused, commandtest.SecretB, ""}, // told once
			{map[string]string{"a": ""}, refused, commandtest.SecretB, "no such file"},
			{map[string]string{"a": commandtest.SecretA}, changed, commandtest.SecretA, ""},
		}},
		{"paths of secrets with an audience", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y, "a": commandtest.SecretA, "b": commandtest.SecretB}, []step{
			{map[string]string{"y": "better-auth-secret-file: DIR/b\napi-audience: other\n"}, refused, commandtest.SecretA, "API_AUDIENCE"},
			{nil, refused, commandtest.SecretA, ""},
			{map[string]string{"a": commandtest.SecretC}, refused, commandtest.SecretC, ""}, // followed all the same
			{map[string]string{"b": commandtest.SecretC + "x"}, refused, commandtest.SecretC, ""},
			{map[string]string{"y": "better-auth-secret-file: DIR/b\napi-audience: third\n"}, refused, commandtest.SecretC, "API_AUDIENCE"}, // another change
			{map[string]string{"y": y}, unchanged, commandtest.SecretC, ""},                                                                 // taken back
			{map[string]string{"y": "better-auth-secret-file: DIR/b\n"}, changed, commandtest.SecretC + "x", ""},
		}},
		{"a line is taken out", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y + "log-level: warn\n", "a": commandtest.SecretA}, []step{
			{map[string]string{"y": "log-level: warn\n"}, refused, commandtest.SecretA, "turn off HS256"},
			{map[string]string{"y": y}, changed, commandtest.SecretA, ""},
		}},
		{"the file of settings is broken, then whole", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y, "a": commandtest.SecretA, "b": commandtest.SecretB}, []step{
			{map[string]string{"y": "better-auth-"}, refused, commandtest.SecretA, "is not a mapping"},
			{map[string]string{"y": "# later"}, refused, commandtest.SecretA, "is empty"},
			{map[string]string{"y": "better-auth-secret-file: DIR/b\n"}, changed, commandtest.SecretB, ""},
			{map[string]string{"y": ""}, refused, commandtest.SecretB, "no such file"},
			{map[string]string{"b": commandtest.SecretC}, refused, commandtest.SecretC, ""},
			{map[string]string{"y": y}, changed, commandtest.SecretA, ""},
		}},
		{"one secret becomes several", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": y, "a": commandtest.SecretA, "b": "2:" + commandtest.SecretB + ",1:" + commandtest.SecretA}, []step{
			{map[string]string{"y": "better-auth-secrets-file: DIR/b\nformer-secrets: [hs256, sessions]\n"}, changed, commandtest.SecretB, ""},
			{map[string]string{"b": "2:" + commandtest.SecretB}, changed, commandtest.SecretB, ""},
			{map[string]string{"b": "nonsense"}, refused, commandtest.SecretB, "is not version:secret"},
		}},
		{"both files of one secret", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y", "BETTER_AUTH_SECRET": commandtest.SecretA}, map[string]string{"y": "log-level: warn\n", "b": commandtest.SecretB}, []step{
			{map[string]string{"y": "better-auth-secret-file: DIR/b\n"}, refused, commandtest.SecretA, "are both set"},
			{map[string]string{"y": "log-level: error\n"}, changed, commandtest.SecretA, ""},
		}},
		{"what stands in the proxy's file", map[string]string{"JWKS_PROXY_FILE": "DIR/p", "BETTER_AUTH_SECRET_FILE": "DIR/a"}, map[string]string{"p": "http://u:one@proxy:1", "a": commandtest.SecretA}, []step{
			{map[string]string{"p": "http://u:two@proxy:1"}, refused, commandtest.SecretA, "JWKS_PROXY_FILE"},
			{nil, refused, commandtest.SecretA, ""},
			{map[string]string{"a": commandtest.SecretB}, refused, commandtest.SecretB, ""},
			{map[string]string{"p": "http://u:one@proxy:1"}, unchanged, commandtest.SecretB, ""},
		}},
		{"the database's file moves", map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"},
			map[string]string{"y": y + "database-url-file: DIR/d\n", "a": commandtest.SecretA, "d": "postgresql://u:p@db/app", "e": "postgresql://u:q@other/app", "f": "mysql://u:q@other/app"}, []step{
				{map[string]string{"d": "postgresql://u:r@db/app"}, unchanged, commandtest.SecretA, ""}, // which the database follows itself
				{map[string]string{"y": y + "database-url-file: DIR/f\n"}, refused, commandtest.SecretA, "line 2: database-url-file begins with"},
				{map[string]string{"y": y + "database-url-file: DIR/e\n"}, changed, commandtest.SecretA, ""},
				{map[string]string{"y": y}, refused, commandtest.SecretA, "DATABASE_URL_FILE"},
				{map[string]string{"y": y + "database-url-file: DIR/e\n", "e": ""}, refused, commandtest.SecretA, "no such file"},
				{map[string]string{"a": commandtest.SecretB}, refused, commandtest.SecretB, ""}, // a database's missing file keeps no secret from its rotation
			}},
	} {
		t.Run(row.title, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				g := newRig(t, row.environment, row.files)
				for i, step := range row.steps {
					g.write(step.files)
					if got := g.Look(t.Context()); got != step.want {
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
		publish("..1", map[string]string{"secrets": "1:" + commandtest.SecretA, "y": "better-auth-secrets-file: DIR/secrets\n"})
		for _, name := range []string{"secrets", "y"} {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)); err != nil {
				t.Fatal(err)
			}
		}
		g := newRigAt(t, folder, map[string]string{"BETTER_AUTH_SECRETS_FILE": "DIR/secrets", "EXTAUTHZ_CONFIG": "DIR/y"})
		publish("..2", map[string]string{"secrets": "2:" + commandtest.SecretB + ",1:" + commandtest.SecretA, "y": "former-secrets: hs256\n"})
		if came := g.Look(t.Context()); came != outcomeChanged || len(g.swaps) != 1 || string(g.swaps[0].Current) != commandtest.SecretB || !g.swaps[0].FormerForHS256 {
			t.Errorf("%s, %d swaps; %s", came, len(g.swaps), g.told())
		}
		publish("..3", map[string]string{"y": "former-secrets: hs256\n"}) // the key has gone from the Secret
		if came := g.Look(t.Context()); came != outcomeRefused || len(g.swaps) != 1 {
			t.Errorf("%s, %d swaps; %s", came, len(g.swaps), g.told())
		}
	})
}

// What former secrets are good for and the secrets are handed on as one, and the log level is the new one.
func TestReloadHandsOnWhatFormerSecretsAreGoodFor(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newRig(t, map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": "better-auth-secret-file: DIR/a\n", "a": commandtest.SecretA})
		g.write(map[string]string{"s": "2:" + commandtest.SecretB + ",1:" + commandtest.SecretA, "y": "better-auth-secrets-file: DIR/s\nformer-secrets: hs256\nlog-level: debug\n"})
		if g.Look(t.Context()) != outcomeChanged || len(g.swaps) != 1 {
			t.Fatalf("%d swaps, want one; %s", len(g.swaps), g.told())
		}
		swap := g.swaps[0]
		if string(swap.Current) != commandtest.SecretB || !slices.EqualFunc(swap.Former, [][]byte{[]byte(commandtest.SecretA)}, bytes.Equal) || !swap.FormerForHS256 || swap.FormerForSessions {
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
		g := newRig(t, map[string]string{"EXTAUTHZ_CONFIG": "DIR/y"}, map[string]string{"y": "better-auth-secret-file: DIR/a\n", "a": commandtest.SecretA})
		state := func(secret, level string) *settings.Settings {
			g.write(map[string]string{"a": secret, "y": "better-auth-secret-file: DIR/a\nlog-level: " + level + "\n"})
			s, _, err := sources.Load("serve", []string{"--config", filepath.Join(g.folder.Path, "y")}, func(string) string { return "" }, nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		half, whole := state(commandtest.SecretA, "warn"), state(commandtest.SecretB, "warn")
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
		if came := g.Look(t.Context()); came != outcomeChanged || len(g.swaps) != 1 || string(g.swaps[0].Current) != commandtest.SecretB {
			t.Errorf("%s, %d swaps", came, len(g.swaps))
		}
		if told := g.told(); strings.Contains(told, "WARN") {
			t.Errorf("what was half written for a moment was told: %s", told)
		}
		// What goes on changing changes nothing, and does not hold the loop for ever.
		i := 0
		states := []*settings.Settings{half, whole}
		g.read = func() (*settings.Settings, error) { i++; return states[i%2], nil }
		g.inForce.Store(state(commandtest.SecretC, "warn"))
		started := time.Now()
		if came := g.Look(t.Context()); came != outcomeUnchanged || len(g.swaps) != 1 {
			t.Errorf("%s, %d swaps", came, len(g.swaps))
		}
		if took := time.Since(started); took > MaxSettling+settleTime {
			t.Errorf("it waited %s", took)
		}
		// A fault of the reader's is told without what it read, and the loop goes on.
		g.read = func() (*settings.Settings, error) { panic(commandtest.SecretA) }
		if came := g.Look(t.Context()); came != outcomeRefused || strings.Contains(g.told(), commandtest.SecretA) {
			t.Errorf("%s", came)
		}
	})
}

// A file of settings that is written anew and means the same is no change, and nothing waits for a restart.
func TestReloadKnowsWhatMeansTheSame(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "extauthz.yaml")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	getenv := func(name string) string { return map[string]string{"EXTAUTHZ_CONFIG": path}[name] }
	read := func() (*settings.Settings, error) {
		s, _, err := sources.Load("serve", nil, getenv, nil)
		return s, err
	}
	const first = "api-audience: [https://a.example, https://b.example]\nmax-connection-age: 5m\nadmin-page: true\nlog-level: info\n"
	for title, row := range map[string]struct {
		second string
		want   Outcome
	}{
		"order, comments, quotes": {"# by hand\nlog-level: 'info'\nadmin-page: \"true\"\nmax-connection-age: 5m # long\n" +
			"api-audience:\n- https://a.example\n- \"https://b.example\"\n", outcomeUnchanged},
		"a duration": {strings.Replace(first, "5m", "300s", 1), outcomeUnchanged},
		"a list":     {strings.Replace(first, "[https://a.example, https://b.example]", "https://a.example, https://b.example", 1), outcomeUnchanged},
		"a boolean":  {strings.Replace(first, "true", "True", 1), outcomeUnchanged},
		"a default":  {first + "log-format: json\n", outcomeUnchanged},
		"a level, and a duration that means the same": {strings.NewReplacer("5m", "300s", "info", "debug").Replace(first), outcomeChanged},
		"another duration":                            {strings.Replace(first, "5m", "301s", 1), outcomeRefused},
		"another list":                                {strings.Replace(first, "https://b", "https://c", 1), outcomeRefused},
	} {
		t.Run(title, func(t *testing.T) {
			write(first)
			s, err := read()
			if err != nil {
				t.Fatal(err)
			}
			log := new(commandtest.Buffer)
			r := New(s, read, new(slog.LevelVar), slog.New(slog.NewTextHandler(log, nil)))
			write(row.second)
			if came := r.Look(t.Context()); came != row.want {
				t.Errorf("%s, and not %s", came, row.want)
			}
			if row.want == outcomeUnchanged && log.String() != "" {
				t.Error("tells of it:", log)
			}
			if came := r.Look(t.Context()); row.want != outcomeRefused && came != outcomeUnchanged {
				t.Error("the second look:", came)
			}
		})
	}
}
