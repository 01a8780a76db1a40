// Command lint holds this project's own rules; go vet runs it: make lint.
package main

import (
	"golang.org/x/tools/go/analysis/unitchecker"

	"extauthz/cmd/lint/rules"
)

func main() { unitchecker.Main(rules.All()...) }
