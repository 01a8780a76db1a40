package extauthz

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A stranger who walks along docs/architecture.md finds each function in the file that the page names, and comes to
// no file twice on one way.
func TestWalk(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| .+ \\|$")
	for title, least := range map[string]int{"The way of one request": 20, "The way of one key set": 8} {
		_, section, _ := strings.Cut(string(page), "## "+title+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		rows := row.FindAllStringSubmatch(section, -1)
		if lines := strings.Count(section, "\n| ") - 1; len(rows) < least || len(rows) != lines {
			t.Errorf("%s: %d rows name a file and a function, of %d; want all, and at least %d", title, len(rows), lines, least)
		}
		seen := map[string]bool{}
		for _, cells := range rows {
			path, function := cells[1], cells[2]
			if seen[path] {
				t.Errorf("%s comes to %s twice", title, path)
			}
			seen[path] = true
			if declared := functionsOf(t, "../"+path); !declared[function] {
				t.Errorf("%s: %s has no %s", title, path, function)
			}
		}
	}
}

// functionsOf returns the functions that a file declares; a method stands behind its type's name and a dot.
func functionsOf(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	declared := map[string]bool{}
	for _, one := range file.Decls {
		function, is := one.(*ast.FuncDecl)
		switch {
		case !is:
		case function.Recv == nil:
			declared[function.Name.Name] = true
		default:
			declared[receiver(function.Recv.List[0].Type)+"."+function.Name.Name] = true
		}
	}
	return declared
}

func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.Ident:
		return of.Name
	}
	return ""
}
