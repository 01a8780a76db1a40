package envoy

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Every block of every page says how it is tried, and why where it is not run.
func TestDocsSayHowEachBlockIsTried(t *testing.T) {
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page, readPage(t, page)) {
			if fault := untried(b); fault != "" {
				t.Errorf("%s: %s", b.name(), fault)
			}
		}
	}
}

// untried says why nothing tries the block, and is empty where something does.
func untried(b block) string {
	ways := map[string][]string{
		"mermaid": {""}, "console": {"demo", "bare", "kept"}, "sh": {"demo", "bare", "settings", "module", "checked", "start"},
		"text": {"demo"},
		"yaml": {"route", "manager", "settings", "compose", "prometheus", "part"}, "go": {"program"}, "python": {"backend"}, "ts": {"jwt", "file"}, "sql": {"scratch"}, "redis": {"acl"},
	}
	isUntried := b.way == "checked" || b.way == "kept"
	switch {
	case !slices.Contains(ways[b.language], b.way):
		return fmt.Sprintf("nothing tries a block %q %q; the ways of this language are %q", b.language, b.way, ways[b.language])
	case isUntried != (b.why != "") && b.way != "file" && b.way != "part":
		return "a block that is not run says why, and no other does"
	case triedIn[b.language+" "+b.way] != "" && triedIn[b.language+" "+b.way] != b.page:
		return "a block of this kind is tried in " + triedIn[b.language+" "+b.way] + " alone"
	}
	return ""
}

// triedIn are kinds of blocks that a test looks for in one page.
var triedIn = map[string]string{
	"text demo": "README.md", "yaml prometheus": "docs/kubernetes.md", "sh start": "README.md", "sh module": "docs/embedding.md",
}

// The commands of the pages are run in the order of the page, against real parts, and print what the page shows.
// UPDATE_DOCS=1 writes what they print into the page.
func TestDocsCommands(t *testing.T) {
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			blocks := blocksOf(t, page, readPage(t, page))
			for _, way := range []string{"demo", "bare"} {
				var run []block
				for _, b := range blocks {
					if b.language == "yaml" && b.way == "settings" { // which the page calls extauthz.yaml
						if err := os.WriteFile(startDocsPlace(t).folder+"/extauthz.yaml", []byte(b.text), 0o600); err != nil {
							t.Fatal(err)
						}
					}
					if b.way == way && (b.language == "console" || b.language == "sh") {
						if _, err := exec.LookPath("kubectl"); err != nil && strings.Contains(b.text, "kubectl ") {
							t.Logf("%s: not run, there is no kubectl here", b.name())
							continue
						}
						run = append(run, b)
					}
				}
				if len(run) > 0 {
					runBlocks(t, startDocsPlace(t), page, run, way == "demo")
				}
			}
		})
	}
}

const commandEnd = "\x1e" // between what a command prints and its exit status; no program prints it

// runBlocks runs the commands of these blocks in one shell. Where something differs they are run again a few times:
// servers in the background need their time to start, and doctor tells when a busy machine is slow.
func runBlocks(t *testing.T, place *docsPlace, page string, blocks []block, demo bool) {
	t.Helper()
	tries := 4
	if os.Getenv("UPDATE_DOCS") != "" {
		tries = 1
	}
	for ; ; tries-- {
		changed, report := tryBlocks(t, place, blocks, demo)
		switch {
		case report == "":
			return
		case tries > 1:
			t.Logf("run again: %s", report)
		case os.Getenv("UPDATE_DOCS") != "" && len(changed) > 0:
			rewrite(t, page, changed, blocksOf(t, page, readPage(t, page)))
			t.Logf("rewritten: %s", report)
			return
		default:
			t.Errorf("%s\nwrite it anew by UPDATE_DOCS=1 go test -run TestDocsCommands ./envoy, and read what changed", report)
			return
		}
	}
}

// tryBlocks returns the texts of the blocks that print something else than the page says, by their line, and what differs.
func tryBlocks(t *testing.T, place *docsPlace, blocks []block, demo bool) (changed map[int]string, report string) {
	t.Helper()
	var script strings.Builder
	script.WriteString("exec 2>&1 </dev/null\n")
	var all [][]command
	for _, b := range blocks {
		commands := []command{{text: b.text}}
		if b.language == "console" {
			commands = commandsOf(t, b)
		}
		all = append(all, commands)
		for _, c := range commands {
			text := strings.TrimRight(place.here(c.text), "\n")
			if b.language == "sh" { // where no output tells of a command that failed
				text = "set -e\n" + text + "\nset +e"
			}
			fmt.Fprintf(&script, "%s\nprintf '%s%%s%s' $?\n", text, commandEnd, commandEnd)
		}
	}
	output, err := place.shell(t, place.environment(t, demo), script.String())
	pieces := strings.Split(output, commandEnd)
	next := 0
	changed = map[int]string{}
	for i, b := range blocks {
		text := ""
		for _, c := range all[i] {
			if next+1 >= len(pieces) {
				return nil, fmt.Sprintf("%s: the shell ended at %q (%v): %s", b.name(), c.text, err, output)
			}
			printed, status := strings.ReplaceAll(place.documented(pieces[next]), "\r", ""), pieces[next+1]
			next += 2
			if b.language == "sh" {
				if status != "0" {
					report += fmt.Sprintf("%s: exit status %s: %s\n", b.name(), status, printed)
				}
				continue
			}
			if status != "0" && strings.TrimSpace(c.output) == "" { // one that is shown to print says itself what came
				report += fmt.Sprintf("%s: %s ends with exit status %s\n", b.name(), strings.TrimSpace(c.text), status)
			}
			if d := difference(c.output, printed); d != "" {
				report += fmt.Sprintf("%s: %s prints something else (-page +here):\n%s\n", b.name(), strings.TrimSpace(c.text), d)
				text += c.source + strings.TrimRight(printed, "\n") + "\n"
				changed[b.line] = ""
				continue
			}
			text += c.source + c.output
		}
		if _, isChanged := changed[b.line]; isChanged {
			changed[b.line] = text
		}
	}
	return changed, report
}

// README shows what the demo prints, from the first line to the last.
func TestDocsDemo(t *testing.T) {
	s := startStack(t)
	binary := s.folder + "/demo-program"
	build := exec.Command("go", "build", "-o", binary, "./envoy/demo")
	build.Dir = s.installer.Root()
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	output, err := exec.CommandContext(t.Context(), binary, "-check", "-free-ports").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	_, printed, _ := strings.Cut(string(output), "starting:\n")
	printed = "starting:\n" + printed
	found := false
	for _, b := range blocksOf(t, "README.md", readPage(t, "README.md")) {
		if b.language == "text" && b.way == "demo" {
			found = true
			// make test-web runs the same with the front end's pages; here Better Auth has none.
			shown := strings.Replace(b.text, "Next.js with Better Auth, its tables created  ", "Better Auth, its tables created               ", 1)
			if d := difference(shown, printed); d != "" {
				t.Errorf("%s: the demo prints something else (-page +here):\n%s", b.name(), d)
			}
		}
	}
	if !found {
		t.Error("README.md shows no output of the demo")
	}
}
