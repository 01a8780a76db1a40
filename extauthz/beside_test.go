package extauthz

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hot are the functions that most checks run, by room.
var hot = map[string][]string{
	"checkwire":  {"EncodeAllow", "EncodeHeader", "ScanRequest"},
	"credential": {"Find"},
	"gate":       {"Pass"},
	"intake":     {"Receive"},
	"issuer":     {"Recall", "Recognize"},
	"jose":       {"Parse", "ParseClaims", "Recheck"},
	"jwk":        {"Verify"},
	"keyset":     {"IsCurrent", "Key"},
	"observe":    {"Count"},
	"request":    {"ReadHeader"},
	"route":      {"Check", "Read"},
	"sampler":    {"Pass"},
	"secret":     {"VerifySession"},
	"session":    {"Ask"},
	"site":       {"Check"},
	"answer":     {"Read"},
	"verified":   {"Find"},
}

// unfuzzed are functions that are named as parsers and read nothing that a stranger wrote.
var unfuzzed = map[string]string{
	"ReadPatterns": "calls ReadPattern, which is fuzzed, for each",
	"ReadObject":   "is under ParseClaims and Parse, which are fuzzed",
}

// beside are the functions of one folder: those that parse text or bytes, and what its benchmarks and fuzz targets call.
type beside struct {
	parsers             []string
	benchmarked, fuzzed map[string]bool
}

// readBeside reads the folders of all rooms, by their last name.
func readBeside(t *testing.T) map[string]*beside {
	t.Helper()
	rooms := map[string]*beside{}
	parses := regexp.MustCompile(`^(Parse|Read|Scan)[A-Z]|^Parse$`)
	err := filepath.WalkDir("internal", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		name := filepath.Base(filepath.Dir(path))
		if rooms[name] == nil {
			rooms[name] = &beside{benchmarked: map[string]bool{}, fuzzed: map[string]bool{}}
		}
		r, isTest := rooms[name], strings.HasSuffix(path, "_test.go")
		calls := map[string]map[string]bool{} // by the test's own functions
		for _, declared := range file.Decls {
			function, is := declared.(*ast.FuncDecl)
			switch {
			case !is:
			case !isTest && function.Recv == nil && parses.MatchString(function.Name.Name) && takesText(function):
				r.parsers = append(r.parsers, function.Name.Name)
			case isTest:
				calls[function.Name.Name] = calledIn(function)
			}
		}
		for caller, called := range calls {
			for _, name := range slices.Collect(maps.Keys(called)) { // also what it calls by a function of the test's own
				for inner := range calls[name] {
					called[inner] = true
				}
			}
			for name := range called {
				r.benchmarked[name] = r.benchmarked[name] || strings.HasPrefix(caller, "Benchmark")
				r.fuzzed[name] = r.fuzzed[name] || strings.HasPrefix(caller, "Fuzz")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

// takesText tells that the first parameter is a string or bytes.
func takesText(function *ast.FuncDecl) bool {
	parameters := function.Type.Params.List
	if len(parameters) == 0 {
		return false
	}
	switch first := parameters[0].Type.(type) {
	case *ast.Ident:
		return first.Name == "string"
	case *ast.ArrayType:
		element, is := first.Elt.(*ast.Ident)
		return is && (element.Name == "byte" || element.Name == "string")
	}
	return false
}

func calledIn(function *ast.FuncDecl) map[string]bool {
	called := map[string]bool{}
	ast.Inspect(function, func(node ast.Node) bool {
		if call, is := node.(*ast.CallExpr); is {
			switch callee := call.Fun.(type) {
			case *ast.Ident:
				called[callee.Name] = true
			case *ast.SelectorExpr:
				called[callee.Sel.Name] = true
			}
		}
		return true
	})
	return called
}

// A benchmark stands beside each hot function, and a fuzz target beside each parser.
func TestBenchmarksAndFuzzTargetsStandBeside(t *testing.T) {
	rooms := readBeside(t)
	for name, functions := range hot {
		for _, function := range functions {
			if room := rooms[name]; room == nil || !room.benchmarked[function] {
				t.Errorf("no benchmark of %s calls %s", name, function)
			}
		}
	}
	parsers := 0
	for name, room := range rooms {
		parsers += len(room.parsers)
		for _, function := range room.parsers {
			if !room.fuzzed[function] && unfuzzed[function] == "" {
				t.Errorf("no fuzz target of %s calls %s", name, function)
			}
		}
	}
	if parsers < 15 {
		t.Errorf("%d parsers are found", parsers)
	}
}
