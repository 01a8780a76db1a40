package extauthz

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// sized is the size of a test that is all computing. Under the race detector it takes ten times as long and shows no
// other races than a smaller one, so make test runs the small size; make exact runs the full one, without the detector.
func sized[T any](full, small T) T {
	if raceEnabled {
		return small
	}
	return full
}

// What a test leaves out under the race detector is run by make exact: each test that asks has its name there.
func TestExactRunsWhatTheRaceDetectorLeavesOut(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^EXACT := (\S+)$`).FindSubmatch(makefile)
	if line == nil {
		t.Fatal("the Makefile has no EXACT")
	}
	exact := regexp.MustCompile("^(" + string(line[1]) + ")$")
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	asking := map[string]bool{"raceEnabled": true, "sized": true}
	// GOMAXPROCS differs in a bubble, and nothing else.
	excepted := map[string]bool{"bubble": true, "sized": true, t.Name(): true}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range tree.Decls {
			function, is := declared.(*ast.FuncDecl)
			ast.Inspect(declared, func(node ast.Node) bool {
				name, isName := node.(*ast.Ident)
				switch {
				case !isName || !asking[name.Name]:
				case !is && file != "race_test.go" && file != "norace_test.go":
					t.Errorf("%s: %s is asked outside of a test", file, name.Name)
				case is && !excepted[function.Name.Name] && !exact.MatchString(function.Name.Name):
					t.Errorf("%s: make exact does not run %s", file, function.Name.Name)
				}
				return true
			})
		}
	}
}
