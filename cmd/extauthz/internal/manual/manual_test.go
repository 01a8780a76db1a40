package manual

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/settings"
)

// scriptOf writes the completion of a shell into a file.
func scriptOf(t *testing.T, shell string) string {
	t.Helper()
	var script bytes.Buffer
	Complete(&script, shell)
	path := filepath.Join(t.TempDir(), "extauthz."+shell)
	if err := os.WriteFile(path, script.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	// Whether the shell is here or not, every command and every flag is in the script.
	names := Names()
	for _, s := range settings.Table {
		names = append(names, s.Flag)
	}
	for _, c := range Commands {
		for _, f := range c.Flags {
			names = append(names, f.Name)
		}
	}
	for _, name := range names {
		if !strings.Contains(script.String(), name) {
			t.Errorf("the completion of %s does not know %s", shell, name)
		}
	}
	return path
}

// ask runs a shell, and returns the lines that it prints.
func ask(t *testing.T, name string, args ...string) []string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, path, args...)
	command.Dir = "testdata" // which holds one file, for what completes paths
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=dumb", "LC_ALL=C.UTF-8"}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v; it said: %s\n%.2000s", name, err, stderr.String(), out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// completions are what a shell must offer for a line; nil for nothing at all.
var completions = []struct {
	line string
	want []string
}{
	{"extauthz s", []string{"serve"}},
	{"extauthz ", Names()},
	{"extauthz serve --sh", []string{"--shadow", "--shutdown-delay"}},
	{"extauthz serve --dry", []string{"--dry-run"}},
	{"extauthz serve --shadow re", []string{"report", "report-and-trust-client-headers"}},
	{"extauthz doctor --reflection ", []string{"false", "true"}},
	{"extauthz check --former-secrets h", []string{"hs256"}},
	{"extauthz check --coo", []string{"--cookie"}},
	{"extauthz doctor --cookie ", nil},
	{"extauthz doctor --envoy ", []string{"a file.yaml"}},
	{"extauthz serve --config a", []string{"a file.yaml"}},
	{"extauthz serve --listen ", nil},
	{"extauthz health --tim", []string{"--timeout"}},
	{"extauthz completion ", Shells},
	{"extauthz version --", nil},
}

// The completion is sourced in a real bash, and asked as bash does when somebody presses Tab.
func TestBashCompletes(t *testing.T) {
	script := scriptOf(t, "bash")
	rows := slices.Clone(completions)
	rows = append(rows, rows[4], rows[4])
	rows[len(rows)-1].line, rows[len(rows)-2].line = "extauthz serve --shadow = re", "extauthz check --shadow = re"
	for _, row := range rows {
		words := strings.Split(row.line, " ")
		got := ask(t, "bash", append([]string{"--norc", "-c", `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
			_extauthz; ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"`, script}, words...)...)
		hold(t, "bash", row.line, got, row.want)
	}
}

// At a terminal bash itself completes paths, those with spaces among them, and what stands behind a =.
func TestBashCompletesAtATerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script(1) is not installed")
	}
	typed := "source " + scriptOf(t, "bash") + "; extauthz() { printf 'got:%s:\\n' \"$@\"; }\n" +
		"extauthz serve --config a\t\n" + "extauthz doctor --envoy=a\t\n" + "extauthz ser\t--shadow=rep\t-\t\n" + "exit\n"
	path := filepath.Join(t.TempDir(), "typed")
	if err := os.WriteFile(path, []byte(typed), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := strings.Join(ask(t, "bash", "-c", `script -qec "bash --norc -i" /dev/null <"$0"`, path), "\n")
	for _, want := range []string{"got:a file.yaml:", "got:--envoy=a file.yaml:", "got:serve:", "got:--shadow=report-and-trust-client-headers:"} {
		if !strings.Contains(seen, "\n"+want) {
			t.Errorf("%q is not what was completed in\n%s", want, seen)
		}
	}
}

func TestFishCompletes(t *testing.T) {
	script := scriptOf(t, "fish")
	for _, row := range completions {
		var got []string
		for _, line := range ask(t, "fish", "-N", "-c", "source $argv[1]; complete -C $argv[2]", script, row.line) {
			word, _, _ := strings.Cut(line, "\t")
			got = append(got, strings.ReplaceAll(word, `\ `, " "))
		}
		hold(t, "fish", row.line, got, row.want)
	}
}

// zsh completes at a terminal only, so that one is made, and Tab is pressed in it until the last candidate is seen.
func TestZshCompletes(t *testing.T) {
	script := scriptOf(t, "zsh")
	for _, row := range completions {
		if len(row.want) < 2 { // one alone is put into the line, which a terminal shows in pieces
			continue
		}
		last := slices.Max(row.want)
		ask(t, "zsh", "-f", "-c", `zmodload zsh/zpty
			zpty z 'zsh -f -i'
			zpty -w z "PS1=; autoload -Uz compinit; compinit -D -u; source $1; setopt no_list_beep; LISTMAX=1000; echo rea''dy"
			zpty -r z out '*ready*'
			zpty -w -n z "$2"$'\t\t'
			zpty -r z out "*$3*"
			zpty -d z`, "zsh", script, row.line, last)
	}
}

func hold(t *testing.T, shell, line string, got, want []string) {
	t.Helper()
	got = slices.DeleteFunc(slices.Sorted(slices.Values(got)), func(word string) bool { return word == "" })
	if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("%s offers %q for %q, expected %q", shell, got, line, want)
	}
}

// The table's flags are those that the commands read.
func TestFlagsAreThoseOfTheCommands(t *testing.T) {
	read := regexp.MustCompile(`flags\.(?:String|Bool|Duration)Var\(&[\w.]+, "([a-z-]+)"`)
	found := 0
	for _, c := range Commands {
		if !c.Settings {
			continue
		}
		source, err := os.ReadFile("../../" + c.Name + ".go")
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, match := range read.FindAllStringSubmatch(string(source), -1) {
			got = append(got, match[1])
		}
		for _, f := range c.Flags {
			want = append(want, f.Name)
		}
		found += len(got)
		hold(t, "the command's source", c.Name, got, want)
	}
	if found < 10 {
		t.Errorf("%d flags were found", found)
	}
}

// The manual page is one for man(1): no warning, each command and setting in it as it is written, and no word cut apart.
func TestManualPageIsRead(t *testing.T) {
	var page bytes.Buffer
	Page(&page, "1.2.3-rc.1")
	for i, line := range strings.Split(page.String(), "\n") {
		if strings.HasSuffix(line, " ") || strings.HasPrefix(line, "'") {
			t.Errorf("line %d is none for roff: %q", i+1, line)
		}
	}
	path := filepath.Join(t.TempDir(), "extauthz.1")
	if err := os.WriteFile(path, page.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, reader := range [][]string{{"man", "--warnings", "-P", "cat", "-l"}, {"mandoc", "-Tutf8", "-Werror"}, {"groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-P-cbou"}} {
		t.Run(reader[0], func(t *testing.T) {
			// Overstruck letters are bold or underlined.
			text := regexp.MustCompile(".\b").ReplaceAllString(strings.Join(ask(t, reader[0], append(reader[1:], path)...), "\n"), "")
			text = regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(text, "")
			for _, c := range Commands {
				if !strings.Contains(text, "extauthz "+c.Name) {
					t.Errorf("%s is not in it", c.Name)
				}
			}
			for _, s := range settings.Table {
				want := s.Variable
				if s.Flag != "" {
					want += ", --" + s.Flag
				}
				if !strings.Contains(text, want) {
					t.Errorf("%s is not in it", want)
				}
			}
			for _, want := range []string{"extauthz 1.2.3-rc.1", `(\, for a comma)`, "`email=`", "bearer({ requireSignature: true })"} {
				if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
					t.Errorf("%q is not in it", want)
				}
			}
		})
	}
}

// A text means to roff what it shows.
func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		"a-b":        `a\-b`,
		".TH x":      `\&.TH x`,
		"a\n.b":      "a\n" + `\&.b`,
		"'quoted'":   `\(aqquoted\(aq`,
		`\, a comma`: `\e, a comma`,
		"a=…,b=…":    `a=…,\:b=…`,
	} {
		if got := roff(text); got != want {
			t.Errorf("%q becomes %q, expected %q", text, got, want)
		}
	}
}
