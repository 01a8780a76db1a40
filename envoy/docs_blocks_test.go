package envoy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a fenced block of a page. What stands behind the fence says its language and how it is tried:
//
//	```console demo      commands and what they print, run against the demo's parts
//	```console bare      the same with nothing set
//	```sh demo, sh bare  commands that must succeed, run likewise
//	```sh settings       variables that extauthz must take
//	```sh start          commands that start extauthz, which must become ready
//	```sh checked: WHY   cannot be run here; every program, flag, target and path in it must exist
//	```console kept: WHY what a program printed that takes too long or is too large to be run by a test
//	```yaml part: FILE   stands so in the file
//
// and for other languages what docs_snippets_test.go knows; Prometheus' own configuration is tried by k8s/monitoring. A block that says nothing fails the test.
type block struct {
	page       string // its path in the repository
	line       int
	language   string
	way, why   string
	text       string // without the indentation of a list
	indent     string
	start, end int // of the text in the page, with its indentation
}

// name is what failures call it.
func (b block) name() string { return b.page + ":" + itoa(b.line) }

// pages are the Markdown files that users read. The API client's own README has its snippets compiled by the client's tests.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "SECURITY.md"}
	for _, pattern := range []string{"docs/*.md", "envoy/*/*.md"} {
		files, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			found = append(found, strings.TrimPrefix(filepath.ToSlash(file), "../"))
		}
	}
	return found
}

func readPage(t *testing.T, page string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

var fence = regexp.MustCompile("^( *)```(.*)$")

// blocksOf reads the fenced blocks of a page.
func blocksOf(t *testing.T, page, content string) (found []block) {
	t.Helper()
	var open *block
	var text strings.Builder
	offset, number := 0, 0
	for line := range strings.Lines(content) {
		number++
		match := fence.FindStringSubmatch(strings.TrimRight(line, "\n"))
		switch {
		case match != nil && open == nil:
			info := strings.TrimSpace(match[2])
			language, rest, _ := strings.Cut(info, " ")
			way, why, _ := strings.Cut(rest, ":")
			open = &block{page: page, line: number, language: language, way: strings.TrimSpace(way), why: strings.TrimSpace(why),
				indent: match[1], start: offset + len(line)}
			text.Reset()
		case match != nil && match[2] == "":
			open.text, open.end = text.String(), offset
			found = append(found, *open)
			open = nil
		case open != nil:
			if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, open.indent) {
				t.Errorf("%s: line %d of the page is indented less than its block", open.name(), number)
			}
			text.WriteString(strings.TrimPrefix(line, open.indent))
		}
		offset += len(line)
	}
	if open != nil {
		t.Errorf("%s: the block has no end", open.name())
	}
	return found
}

// command is one command of a console block and what is printed after it.
type command struct {
	text   string // lines after "$ " and "> "
	source string // the same with their marks
	output string
}

// commandsOf splits a transcript. A line that begins with "$ " is a command, lines after it that begin with "> " belong to it.
func commandsOf(t *testing.T, b block) (found []command) {
	t.Helper()
	for line := range strings.Lines(b.text) {
		last := len(found) - 1
		switch {
		case strings.HasPrefix(line, "$ "):
			found = append(found, command{text: line[2:], source: line})
		case last < 0:
			t.Errorf("%s: output before the first command", b.name())
			return nil
		case strings.HasPrefix(line, "> ") && found[last].output == "":
			found[last].text += line[2:]
			found[last].source += line
		default:
			found[last].output += line
		}
	}
	return found
}

// changing is what is never the same twice, and what is compared in its place.
var changing = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`), "<date>"},
	{regexp.MustCompile(`\b\d+m[\d.]+s\b`), "<duration>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms)\b`), "<duration>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?s\b`), "<duration>"},
	{regexp.MustCompile(`ready in \d+\.\d s`), "ready in <duration>"},
	{regexp.MustCompile(`after \d+ milliseconds with \d+ bytes`), "after <duration>"},
	{regexp.MustCompile(`\b[A-Za-z0-9]{32}\b`), "<id>"},
	{regexp.MustCompile(`JWT, alg EdDSA, \d+ bytes`), "JWT, alg EdDSA, <count> bytes"},
	{regexp.MustCompile(`"created_at":\d{10}\b`), `"created_at":<time>`},
	{regexp.MustCompile(`Envoy \d+\.\d+\.\d+`), "Envoy <version>"},
	{regexp.MustCompile(`PostgreSQL \d+\.\d+`), "PostgreSQL <version>"},
	{regexp.MustCompile(`extauthz \d+\.\d+\.\d+ [0-9a-f ]*go[\d.]+ `), "extauthz <version> "},
	{regexp.MustCompile(`[ \t]+\n`), "\n"},
	{regexp.MustCompile(`\n+$`), "\n"},
}

// steady is a text with everything replaced that changes from run to run.
func steady(text string) string {
	text = strings.TrimRight(text, "\n") + "\n"
	for _, change := range changing {
		text = change.pattern.ReplaceAllString(text, change.instead)
	}
	return text
}

// rewrite puts other texts into blocks of a page, where UPDATE_DOCS is set.
func rewrite(t *testing.T, page string, changed map[int]string, blocks []block) {
	t.Helper()
	content := readPage(t, page)
	for _, b := range slices.Backward(blocks) {
		text, isChanged := changed[b.line]
		if !isChanged {
			continue
		}
		indented := ""
		for line := range strings.Lines(text) {
			if strings.TrimSpace(line) != "" {
				line = b.indent + line
			}
			indented += line
		}
		content = content[:b.start] + indented + content[b.end:]
	}
	if err := os.WriteFile(filepath.Join("..", page), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
