// Package rules is what this project's own linter checks: rules that are ours, so that no general linter knows them. It
// imports nothing of this module: the rules know its packages by their paths.
package rules

import (
	"go/ast"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// The packages that the rules are about.
const (
	module    = "extauthz/extauthz"
	checkwire = module + "/internal/checkwire"
)

// All are all rules.
func All() []*analysis.Analyzer {
	return []*analysis.Analyzer{Credentials, Detached, Unsafe}
}

// isTest tells whether a file is a test's, for which most rules do not hold.
func isTest(pass *analysis.Pass, file *ast.File) bool {
	return strings.HasSuffix(pass.Fset.File(file.Pos()).Name(), "_test.go")
}

// isIn tells whether a package is one of this path or below it. A package's tests have the path of the package, and a
// space and more behind it.
func isIn(path, folder string) bool {
	path, _, _ = strings.Cut(path, " ")
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// calleeOf is the function or method that a call names; nil where it is a value or a conversion.
func calleeOf(pass *analysis.Pass, call *ast.CallExpr) types.Object {
	switch callee := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		return pass.TypesInfo.Uses[callee]
	case *ast.SelectorExpr:
		return pass.TypesInfo.Uses[callee.Sel]
	}
	return nil
}

// isFrom tells whether an object is of a package with this path.
func isFrom(object types.Object, path string) bool {
	return object != nil && object.Pkg() != nil && object.Pkg().Path() == path
}
