package rules

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/analysis"
)

// Detached lets checkwire.Detach alone copy a text. A check's texts lie in its message, whose memory is used again when
// it is answered; where each copy has one name, whoever looks for what outlives a check finds it. That nothing else
// does is shown by TestNothingOutlivesItsMessage, which writes over the memory.
var Detached = &analysis.Analyzer{
	Name: "detached",
	Doc:  "report copies of a text by anything but checkwire.Detach",
	Run: func(pass *analysis.Pass) (any, error) {
		if !isIn(pass.Pkg.Path(), module) {
			return nil, nil
		}
		for _, file := range pass.Files {
			if isTest(pass, file) {
				continue
			}
			for _, declared := range file.Decls {
				function, is := declared.(*ast.FuncDecl)
				if is && function.Name.Name == "Detach" && isIn(pass.Pkg.Path(), checkwire) {
					continue
				}
				ast.Inspect(declared, func(node ast.Node) bool {
					if call, is := node.(*ast.CallExpr); is && copiesText(pass, call) {
						pass.Reportf(call.Pos(), "a text outlives its message by checkwire.Detach alone")
					}
					return true
				})
			}
		}
		return nil, nil
	},
}

// copiesText tells strings.Clone, and string([]byte(text)).
func copiesText(pass *analysis.Pass, call *ast.CallExpr) bool {
	if callee := calleeOf(pass, call); isFrom(callee, "strings") && callee.Name() == "Clone" {
		return true
	}
	outer := converts(pass, call)
	if outer == nil || !isText(outer) {
		return false
	}
	inner, is := ast.Unparen(call.Args[0]).(*ast.CallExpr)
	if !is || converts(pass, inner) == nil {
		return false
	}
	return isText(pass.TypesInfo.TypeOf(inner.Args[0]))
}

// converts is the type that a conversion is to; nil where a call is none.
func converts(pass *analysis.Pass, call *ast.CallExpr) types.Type {
	if to := pass.TypesInfo.Types[call.Fun]; to.IsType() && len(call.Args) == 1 {
		return to.Type
	}
	return nil
}

func isText(t types.Type) bool {
	basic, is := t.Underlying().(*types.Basic)
	return is && basic.Info()&types.IsString != 0
}
