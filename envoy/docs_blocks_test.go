package envoy

import (
	"fmt"
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

var (
	fence = regexp.MustCompile("^( *)```(.*)$")
	// otherCode is code in another form than a block between ``` and ```, which nothing would try.
	otherCode  = regexp.MustCompile("(?i)^(?: *~~~| *>.*```| *<(?:pre|code)\\b)")
	deepIndent = regexp.MustCompile(`^(?: {4}|\t)`)
)

// blocksOf reads the fenced blocks of a page.
func blocksOf(t *testing.T, page, content string) []block {
	t.Helper()
	found, faults := readBlocks(page, content)
	for _, fault := range faults {
		t.Error(fault)
	}
	return found
}

func readBlocks(page, content string) (found []block, faults []string) {
	var open *block
	var text strings.Builder
	offset, number := 0, 0
	isBlank := true // the line before
	for line := range strings.Lines(content) {
		number++
		match := fence.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		switch {
		case match != nil && open == nil:
			info := strings.TrimSpace(match[2])
			language, rest, _ := strings.Cut(info, " ")
			way, why, _ := strings.Cut(rest, ":")
			open = &block{page: page, line: number, language: language, way: strings.TrimSpace(way), why: strings.TrimSpace(why),
				indent: match[1], start: offset + len(line)}
			text.Reset()
		case match != nil && strings.TrimSpace(match[2]) == "":
			open.text, open.end = text.String(), offset
			found = append(found, *open)
			if open.text == "" {
				faults = append(faults, open.name()+": an empty block")
			}
			open = nil
		case open != nil:
			if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, open.indent) {
				faults = append(faults, fmt.Sprintf("%s: line %d of the page is indented less than its block", open.name(), number))
			}
			text.WriteString(strings.TrimPrefix(line, open.indent))
		case otherCode.MatchString(line) || isBlank && deepIndent.MatchString(line):
			faults = append(faults, fmt.Sprintf("%s:%d: code that stands in no block of its own: %s", page, number, strings.TrimSpace(line)))
		}
		isBlank = strings.TrimSpace(line) == ""
		offset += len(line)
	}
	if open != nil {
		faults = append(faults, open.name()+": the block has no end")
	}
	return found, faults
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
