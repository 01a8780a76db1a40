package extauthz

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	maxRoomLines = 900
	maxFileLines = 350
)

// room is a package as its sources are.
type room struct {
	imports map[string]bool // rooms, by the last part of their path
	others  map[string]bool // all other import paths
	comment string
	lines   int
}

// readRooms reads the packages below extauthz/, without their tests, by the last part of their path.
func readRooms(t *testing.T) map[string]*room {
	t.Helper()
	rooms := map[string]*room{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, content, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		if rooms[file.Name.Name] == nil {
			rooms[file.Name.Name] = &room{imports: map[string]bool{}, others: map[string]bool{}}
		}
		r := rooms[file.Name.Name]
		lines := strings.Count(string(content), "\n")
		if r.lines += lines; lines > maxFileLines && path != "extauthz.go" {
			t.Errorf("%s has %d lines, more than %d", path, lines, maxFileLines)
		}
		r.comment += packageComment(file)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if strings.HasPrefix(imported, "extauthz/") {
				r.imports[filepath.Base(imported)] = true
			} else {
				r.others[imported] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

func packageComment(file *ast.File) string {
	if file.Doc == nil {
		return ""
	}
	return file.Doc.Text()
}

// The rooms import each other as docs/architecture.md draws it, and in no other way.
func TestArchitecture(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, drawing, _ := strings.Cut(string(page), "```mermaid\n")
	drawing, _, _ = strings.Cut(drawing, "```")
	drawn := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^  (\w+) --> (.+)$`).FindAllStringSubmatch(drawing, -1) {
		for to := range strings.SplitSeq(match[2], " & ") {
			drawn[match[1]+" --> "+to] = true
		}
	}
	rooms := readRooms(t)
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		r := rooms[name]
		if slices.Contains([]string{"util", "utils", "common", "core", "helpers", "misc", "base"}, name) {
			t.Errorf("%s is named after nothing", name)
		}
		if name != "extauthz" && r.lines > maxRoomLines {
			t.Errorf("%s has %d lines, more than %d", name, r.lines, maxRoomLines)
		}
		if !strings.HasPrefix(r.comment, "Package "+name+" ") {
			t.Errorf("%s has no package comment", name)
		}
		if !strings.Contains(string(page), name) {
			t.Errorf("docs/architecture.md does not name %s", name)
		}
		if r.others["unsafe"] != (name == "checkwire") {
			t.Errorf("%s: whether it imports unsafe is not as docs/architecture.md says", name)
		}
		if r.others["github.com/lestrrat-go/jwx/v2/jwk"] != (name == "jwk") {
			t.Errorf("%s: whether it imports jwx is not as docs/architecture.md says", name)
		}
		for to := range r.imports {
			arrow := name + " --> " + to
			if !drawn[arrow] {
				t.Errorf("%s is not in the drawing of docs/architecture.md", arrow)
			}
			delete(drawn, arrow)
		}
	}
	for arrow := range drawn {
		t.Errorf("%s is in the drawing of docs/architecture.md and not in the code", arrow)
	}
	// What the page says of files is so.
	for _, match := range regexp.MustCompile("`((?:cmd|extauthz|internal)/[a-z0-9_/]+\\.go)`").FindAllStringSubmatch(string(page), -1) {
		path := match[1]
		if strings.HasPrefix(path, "internal/") {
			path = "extauthz/" + path
		}
		if _, err := os.Stat("../" + path); err != nil {
			t.Errorf("docs/architecture.md names %s, which there is not", match[1])
		}
	}
}
