package rules

import (
	"bytes"
	"go/ast"
	"unicode/utf8"

	"golang.org/x/tools/go/analysis"
)

// MaxColumns is how many characters a line of code has at most; a tab is one.
const MaxColumns = 120

// Columns bounds the lines of code: what is longer is read twice. Tables of tests are excepted, and generated files.
var Columns = &analysis.Analyzer{
	Name: "columns",
	Doc:  "report lines of more than 120 characters, except in tests",
	Run: func(pass *analysis.Pass) (any, error) {
		for _, file := range pass.Files {
			if isTest(pass, file) || ast.IsGenerated(file) {
				continue
			}
			position := pass.Fset.File(file.FileStart)
			content, err := pass.ReadFile(position.Name())
			if err != nil {
				return nil, err
			}
			for at, line := range bytes.Split(content, []byte("\n")) {
				if length := utf8.RuneCount(line); length > MaxColumns && at < position.LineCount() {
					pass.Reportf(position.LineStart(at+1), "%d characters, more than %d", length, MaxColumns)
				}
			}
		}
		return nil, nil
	},
}
