package rules

import (
	"go/ast"
	"go/types"
	"regexp"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Credentials keeps credentials out of logs. What holds one is told by its type, by the field that it is taken from,
// and, for plain texts, by its name; so a text that holds a credential is to be named after it. What is said of one
// (its length, its form) may be logged.
var Credentials = &analysis.Analyzer{
	Name: "nocredential",
	Doc:  "report credentials and secrets in calls of a log",
	Run: func(pass *analysis.Pass) (any, error) {
		for _, file := range pass.Files {
			if isTest(pass, file) {
				continue
			}
			ast.Inspect(file, func(node ast.Node) bool {
				call, is := node.(*ast.CallExpr)
				if !is || !isLog(pass, call) {
					return true
				}
				for _, argument := range call.Args {
					reportCredentials(pass, argument)
				}
				return true // a log call may stand in a function that another one is given
			})
		}
		return nil, nil
	},
}

// isLog tells a call that a log is written by, or by which an attribute of its is made.
func isLog(pass *analysis.Pass, call *ast.CallExpr) bool {
	callee := calleeOf(pass, call)
	return isFrom(callee, "log/slog") || isFrom(callee, "log")
}

// holders are the types that hold a credential, by their package.
var holders = map[string][]string{
	module:                          {"Credential", "Config", "Secrets"},
	module + "/internal/credential": {"Credential", "Presented"},
	module + "/internal/jose":       {"Token"},
	module + "/internal/secret":     {"Secrets", "Shared", "Value"},
	module + "/internal/request":    {"Request"},
}

// held are the fields that hold a credential, by their type's package; those of any name that suspicious knows are too.
var held = map[string][]string{
	module + "/internal/credential": {"Text", "Token", "Signature"},
	module + "/internal/jose":       {"Payload", "Signature", "Signed"},
	module + "/internal/request":    {"Authorization", "Cookies"},
}

// suspicious are names of texts that hold a credential.
var suspicious = regexp.MustCompile(
	`(?i)^((session|bearer|access|api|raw|signed)?token|(former|shared|current)?secrets?|(api)?key|pass(word|wd)|credentials?|` +
		`cookies?|authorization|bearer|dsn|(database|read|redis)?url|connectionstring)$`)

// harmless are texts of a suspicious name that hold none: a URL is shown without its query where it is called Shown.
var harmless = regexp.MustCompile(`^Shown$`)

func reportCredentials(pass *analysis.Pass, argument ast.Expr) {
	ast.Inspect(argument, func(node ast.Node) bool {
		expression, is := node.(ast.Expr)
		if !is {
			return true
		}
		if tells, is := pass.TypesInfo.TypeOf(expression).(*types.Basic); is &&
			tells.Info()&(types.IsBoolean|types.IsNumeric) != 0 {
			return false // a length, or whether there is one
		}
		switch expression := expression.(type) {
		case *ast.FuncLit:
			return false // it logs by itself, or not at all
		case *ast.CallExpr:
			if isLog(pass, expression) {
				return false // it is looked at by itself
			}
			return !onlyDescribes(pass, expression)
		case *ast.SelectorExpr:
			if field, is := pass.TypesInfo.Uses[expression.Sel].(*types.Var); is && field.IsField() {
				if fieldHolds(field) || typeHolds(field.Type()) {
					pass.Reportf(expression.Pos(), "%s holds a credential, which no log must", expression.Sel.Name)
				}
				return false // of what holds a credential another field may be shown
			}
		case *ast.Ident:
			value, is := pass.TypesInfo.Uses[expression].(*types.Var)
			if is && (typeHolds(value.Type()) || isPlain(value.Type()) && isSuspicious(value.Name())) {
				pass.Reportf(expression.Pos(), "%s holds a credential, which no log must", expression.Name)
			}
		}
		return true
	})
}

func isSuspicious(name string) bool {
	return suspicious.MatchString(name) && !harmless.MatchString(name)
}

// onlyDescribes tells a call that says of a credential what may be known: its form.
func onlyDescribes(pass *analysis.Pass, call *ast.CallExpr) bool {
	callee := calleeOf(pass, call)
	return callee != nil && callee.Name() == "Describe" && callee.Pkg() != nil && isIn(callee.Pkg().Path(), module)
}

func fieldHolds(field *types.Var) bool {
	if field.Pkg() != nil {
		for _, name := range held[field.Pkg().Path()] {
			if field.Name() == name {
				return true
			}
		}
	}
	return isPlain(field.Type()) && isSuspicious(field.Name())
}

// typeHolds tells whether values of the type, or what they point to or list, hold a credential.
func typeHolds(t types.Type) bool {
	switch t := types.Unalias(t).(type) {
	case *types.Pointer:
		return typeHolds(t.Elem())
	case *types.Slice:
		return typeHolds(t.Elem())
	case *types.Named:
		object := t.Obj()
		if object.Pkg() == nil {
			return false
		}
		for _, name := range holders[strings.TrimSuffix(object.Pkg().Path(), "_test")] {
			if object.Name() == name {
				return true
			}
		}
	}
	return false
}

// isPlain tells texts, bytes, and lists of them.
func isPlain(t types.Type) bool {
	switch t := t.Underlying().(type) {
	case *types.Basic:
		return t.Info()&types.IsString != 0 || t.Kind() == types.Byte
	case *types.Slice:
		return isPlain(t.Elem())
	}
	return false
}
