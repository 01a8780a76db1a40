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

// larger are rooms that may have more lines, and why.
var larger = map[string]int{
	"settings": 1200, // one table of all settings, with the reader of each value beside it
}

// room is a package as its sources are.
type room struct {
	imports map[string]bool // rooms, by the last part of their path
	others  map[string]bool // all other import paths
	comment string
	lines   int
}

// readRooms reads the packages below a folder, without their tests, by their names.
func readRooms(t *testing.T, root string) map[string]*room {
	t.Helper()
	rooms := map[string]*room{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
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
		if r.lines += lines; lines > maxFileLines {
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

// drawings are the arrows of the page's drawings, in their order.
func drawings(page string) (all []map[string]bool) {
	arrow := regexp.MustCompile(`(?m)^  (\w+) --> (.+)$`)
	for _, block := range strings.Split(page, "```mermaid\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		drawn := map[string]bool{}
		for _, match := range arrow.FindAllStringSubmatch(block, -1) {
			for to := range strings.SplitSeq(match[2], " & ") {
				drawn[match[1]+" --> "+to] = true
			}
		}
		all = append(all, drawn)
	}
	return all
}

// The rooms of the library and those of the command import each other as docs/architecture.md draws it, and in no other
// way.
func TestArchitecture(t *testing.T) {
	content, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	drawn := drawings(page)
	if len(drawn) != 2 {
		t.Fatalf("docs/architecture.md has %d drawings, expected one of the library and one of the command", len(drawn))
	}
	holdRooms(t, page, readRooms(t, "."), drawn[0])
	holdRooms(t, page, readRooms(t, "../cmd/extauthz"), drawn[1])
	// What the page says of files is so.
	for _, match := range regexp.MustCompile("`((?:cmd|extauthz|internal)/[a-z0-9_/]+\\.go)`").FindAllStringSubmatch(page, -1) {
		path := match[1]
		if strings.HasPrefix(path, "internal/") {
			path = "extauthz/" + path
		}
		if _, err := os.Stat("../" + path); err != nil {
			t.Errorf("docs/architecture.md names %s, which there is not", match[1])
		}
	}
}

// holdRooms holds rooms against their drawing and the page's rules.
func holdRooms(t *testing.T, page string, rooms map[string]*room, drawn map[string]bool) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		r := rooms[name]
		if slices.Contains([]string{"util", "utils", "common", "core", "helpers", "misc", "base"}, name) {
			t.Errorf("%s is named after nothing", name)
		}
		if name != "extauthz" && r.lines > max(maxRoomLines, larger[name]) {
			t.Errorf("%s has %d lines, more than %d", name, r.lines, max(maxRoomLines, larger[name]))
		}
		if prefix := "Package " + name + " "; name != "main" && !strings.HasPrefix(r.comment, prefix) {
			t.Errorf("%s has no package comment", name)
		}
		if !strings.Contains(page, "`"+name+"`") && !strings.Contains(page, "/"+name+"`") {
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
}
