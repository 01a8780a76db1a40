package envoy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// claims holds what a command may name against what there is.
type claims struct {
	t       *testing.T
	fault   func(format string, values ...any)
	targets []string          // of the Makefile
	help    map[string]string // of each command of extauthz
	tests   string            // all test files
}

func newClaims(t *testing.T) *claims {
	t.Helper()
	c := &claims{t: t, fault: t.Errorf, help: map[string]string{}}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllSubmatch(makefile, -1) {
		c.targets = append(c.targets, string(match[1]))
	}
	help := func(commands ...string) {
		for _, command := range commands {
			output, err := exec.CommandContext(t.Context(), startStack(t).binary, command, "--help").Output()
			if err != nil {
				t.Fatal(err)
			}
			c.help[command] = string(output)
		}
	}
	help("serve", "check", "doctor", "health", "config")
	// The flags of serve are those of the others, which their own help does not repeat.
	for command := range c.help {
		c.help[command] += c.help["serve"]
	}
	help("completion", "man")
	c.help["version"] = ""
	var tests bytes.Buffer
	for _, room := range []string{"../cmd", "../envoy", "../extauthz", "../k8s"} {
		err := filepath.WalkDir(room, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && entry.Name() == "node_modules":
				return filepath.SkipDir
			case !strings.HasSuffix(path, "_test.go"):
				return nil
			}
			content, err := os.ReadFile(path)
			tests.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.tests = tests.String()
	return c
}

// programs are those that the pages may call; a name that is none of these is misspelt, or wants a line here.
var programs = []string{"make", "go", "git", "extauthz", "kubectl", "helm", "istioctl", "egctl", "docker", "npm", "systemctl", "systemd-analyze", "systemd-creds",
	"curl", "export", "openssl", "psql", "promtool", "grep", "sort", "wc", "head", "sudo", "cp", "mv", "install", "echo", "cat", "cd", "sed", "for", "do", "done", "if", "fi", "while", "uvicorn", "python", "python3", "node", "envoy"}

var (
	assignment  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	ownPath     = regexp.MustCompile(`^(?:\.\./)?((?:k8s|docs|envoy|cmd|extauthz)/[^\s"'` + "`" + `:#?]*)`)
	placeholder = regexp.MustCompile(`[A-Z]{4,}|…|\*|\$|<|X\b`)
	comment     = regexp.MustCompile(`(^|\s)#.*$`)
	separators  = regexp.MustCompile(`\s*(?:&&|\|\||;|\|)\s*`)
	testName    = regexp.MustCompile(`Test[A-Z][A-Za-z0-9_]*|Fuzz[A-Z][A-Za-z0-9_]*`)
)

// check looks at the commands of a text: programs, flags, make targets, tests, and paths of this repository.
func (c *claims) check(where, text string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		for command := range slices.Values(separators.Split(comment.ReplaceAllString(strings.TrimSpace(line), ""), -1)) {
			words := strings.Fields(command)
			for len(words) > 0 && (assignment.MatchString(words[0]) || words[0] == "export" || words[0] == "sudo") {
				if name, _, isAssignment := strings.Cut(words[0], "="); isAssignment {
					c.variable(where, name)
				}
				if words[0] == "sudo" && len(words) > 2 && words[1] == "-u" { // and a user
					words = words[2:]
				}
				words = words[1:]
			}
			if len(words) > 0 {
				c.command(where, words)
			}
		}
	}
}

// variable holds a name that looks like one of ours against the settings.
func (c *claims) variable(where, name string) {
	isOurs := ourName.MatchString(name) && !kubernetesExample[name] && !betterAuths[name]
	if isOurs && !regexp.MustCompile(`(?m)^  `+name+`(?:,|$| )`).MatchString(c.help["serve"]) {
		c.fault("%s: %s is not a setting", where, name)
	}
}

// ourName matches what is a setting of ours or a misspelt one.
var ourName = regexp.MustCompile(`^(?:EXTAUTHZ|BETTER_AUTH|JWKS|DATABASE_UR|API_AUD)[A-Z_]*[A-Z]$`)

// betterAuths are variables that Better Auth reads and extauthz does not.
var betterAuths = map[string]bool{"BETTER_AUTH_TELEMETRY": true}

// testsExist wants every test that a text names to be there.
func (c *claims) testsExist(where, text string) {
	for _, name := range testName.FindAllString(text, -1) {
		if !strings.Contains(c.tests, "func "+name+"(") {
			c.fault("%s: there is no test %s", where, name)
		}
	}
}

func (c *claims) command(where string, words []string) {
	program := filepath.Base(words[0])
	if !slices.Contains(programs, program) {
		c.fault("%s: no program of the pages is called %q", where, words[0])
	}
	switch {
	case program == "make":
		for _, word := range words[1:] {
			if !strings.Contains(word, "=") && !slices.Contains(c.targets, word) {
				c.fault("%s: the Makefile has no target %q", where, word)
			}
		}
	case program == "extauthz":
		c.extauthz(where, words[1:])
	case program == "go" && slices.Contains(words, "test"):
		for _, name := range testName.FindAllString(strings.Join(words, " "), -1) {
			if !strings.Contains(c.tests, "func "+name) {
				c.fault("%s: there is no test %s…", where, name)
			}
		}
	}
	for i, word := range words {
		if match := ownPath.FindStringSubmatch(strings.Trim(word, `"'`)); match != nil && !placeholder.MatchString(match[1]) {
			if _, err := os.Stat(filepath.Join("..", match[1])); err != nil {
				c.fault("%s: %v", where, err)
			}
			if i > 0 && (words[i-1] == "-k" || words[i-1] == "kustomize") {
				c.kustomize(where, match[1])
			}
		}
	}
}

func (c *claims) extauthz(where string, words []string) {
	if len(words) == 0 {
		return
	}
	help, known := c.help[words[0]]
	if !known {
		c.fault("%s: extauthz has no command %q", where, words[0])
		return
	}
	for _, word := range words[1:] {
		flag, _, _ := strings.Cut(word, "=")
		if strings.HasPrefix(flag, "--") && flag != "--help" && !hasFlag(help, flag) {
			c.fault("%s: extauthz %s has no flag %s", where, words[0], flag)
		}
	}
}

// hasFlag tells whether a help text has the flag itself, and not only a longer one.
func hasFlag(help, flag string) bool {
	return regexp.MustCompile(`(?m)(?:^|[\s,\[])` + regexp.QuoteMeta(flag) + `(?:$|[\s,\]])`).MatchString(help)
}

// kustomize builds the folder, where there is kubectl; the mesh's tests build every one by kustomize's own code.
func (c *claims) kustomize(where, folder string) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		c.t.Logf("%s: %s is not built, there is no kubectl", where, folder)
		return
	}
	if output, err := exec.CommandContext(c.t.Context(), kubectl, "kustomize", filepath.Join("..", folder)).CombinedOutput(); err != nil {
		c.fault("%s: %v\n%s", where, err, output)
	}
}

// What cannot be run here can be read by the shell, and names nothing that there is not.
func TestDocsCheckedCommands(t *testing.T) {
	c := newClaims(t)
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page, readPage(t, page)) {
			c.testsExist(b.name(), b.why)
			switch {
			case b.language == "sh":
				parse := exec.CommandContext(t.Context(), "bash", "-n")
				parse.Stdin = strings.NewReader(b.text)
				if output, err := parse.CombinedOutput(); err != nil {
					t.Errorf("%s: %s", b.name(), output)
				}
				if b.way == "checked" || b.way == "start" {
					c.check(b.name(), b.text)
				}
			case b.language == "console" && b.way == "kept":
				for _, command := range commandsOf(t, b) {
					c.check(b.name(), command.text)
				}
			}
		}
	}
}

var (
	inlineCode = regexp.MustCompile("`([^`\n]+)`")
	link       = regexp.MustCompile(`(?:\]\(|(?:src|href)=")([^)"\s]+)[)"]`)
	heading    = regexp.MustCompile(`(?m)^#+ +(.*?) *$`)
)

// Commands, variables and paths in the running text are real, too.
func TestDocsInlineCommands(t *testing.T) {
	c := newClaims(t)
	for _, page := range pages(t) {
		for _, match := range inlineCode.FindAllStringSubmatch(readPage(t, page), -1) {
			words := strings.Fields(match[1])
			name, _, isAssignment := strings.Cut(words[0], "=")
			switch {
			case isAssignment && assignment.MatchString(words[0]):
				c.variable(page, name)
				if len(words) > 1 && slices.Contains(programs, words[1]) {
					c.check(page, match[1])
				}
			case len(words) > 1 && slices.Contains([]string{"make", "go", "extauthz", "kubectl"}, words[0]):
				c.check(page, match[1])
			case len(words) == 1 && testName.FindString(words[0]) == words[0]:
				c.testsExist(page, words[0])
			case len(words) == 1:
				c.variable(page, words[0])
			}
		}
	}
}

// kubernetesExample are variables that the pages name because they are no settings.
var kubernetesExample = map[string]bool{"EXTAUTHZ_SERVICE_HOST": true, "EXTAUTHZ_PORT": true}

// Links within the repository lead to a file that is there and to a heading that is there.
func TestDocsLinks(t *testing.T) {
	for _, page := range append(pages(t), "CHANGELOG.md", "envoy/demo/web/README.md", "envoy/demo/web/client/README.md") {
		for _, match := range link.FindAllStringSubmatch(readPage(t, page), -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			target, anchor, _ := strings.Cut(match[1], "#")
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if anchor != "" && !slices.Contains(anchorsOf(readPage(t, file)), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, file, anchor)
			}
		}
	}
}

// anchorsOf are the names that a page's headings have in links. A comment in a block of code is none.
func anchorsOf(content string) (anchors []string) {
	blocks, _ := readBlocks("", content)
	for _, b := range slices.Backward(blocks) {
		content = content[:b.start] + content[b.end:]
	}
	for _, match := range heading.FindAllStringSubmatch(content, -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, match[1])
		anchors = append(anchors, anchor)
	}
	return anchors
}
