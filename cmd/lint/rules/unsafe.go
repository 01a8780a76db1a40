package rules

import (
	"strconv"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Unsafe lets checkwire alone use unsafe: what looks at a message's bytes as text stands in one place, where it is said
// how long such a text lives. Tests are held to it as well.
var Unsafe = &analysis.Analyzer{
	Name: "nounsafe",
	Doc:  "report unsafe, and what is as unsafe, outside of internal/checkwire",
	Run: func(pass *analysis.Pass) (any, error) {
		if isIn(pass.Pkg.Path(), checkwire) {
			return nil, nil
		}
		for _, file := range pass.Files {
			for _, imported := range file.Imports {
				if path, err := strconv.Unquote(imported.Path.Value); err == nil && path == "unsafe" {
					pass.Reportf(imported.Pos(), "unsafe outside of internal/checkwire")
				}
			}
			for _, group := range file.Comments {
				for _, comment := range group.List {
					if strings.HasPrefix(comment.Text, "//go:linkname ") {
						pass.Reportf(comment.Pos(), "go:linkname reaches into another package, which is as unsafe")
					}
				}
			}
		}
		for name, object := range pass.TypesInfo.Uses {
			if isFrom(object, "reflect") && (object.Name() == "StringHeader" || object.Name() == "SliceHeader") {
				pass.Reportf(name.Pos(), "reflect.%s is as unsafe as unsafe", object.Name())
			}
		}
		return nil, nil
	},
}
