package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/extauthz/operator"
)

// completion prints a shell's completion.
func completion(args []string, stdout, stderr io.Writer) int {
	if isHelp(args) {
		manual.Find("completion").Help(stdout)
		return exitOK
	}
	if len(args) != 1 || !manual.HasShell(args[0]) {
		discreet.Complain(stderr, "completion takes the name of a shell; write one of",
			strings.Join(manual.Shells, ", "))
		return exitFault
	}
	var script bytes.Buffer
	manual.Complete(&script, args[0])
	return write(&script, stdout, stderr)
}

// manualPage prints extauthz(1).
func manualPage(args []string, stdout, stderr io.Writer) int {
	if isHelp(args) {
		manual.Find("man").Help(stdout)
		return exitOK
	}
	if len(args) > 0 {
		discreet.Complain(stderr, fmt.Sprintf("man takes nothing, not %q", args[0]))
		return exitFault
	}
	var page bytes.Buffer
	manual.Page(&page, operator.Version)
	return write(&page, stdout, stderr)
}

func isHelp(args []string) bool {
	return len(args) == 1 && (strings.TrimLeft(args[0], "-") == "help" || args[0] == "-h")
}

// write has a file that could not be written whole noticed by who installs it.
func write(content *bytes.Buffer, stdout, stderr io.Writer) int {
	if _, err := content.WriteTo(stdout); err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	return exitOK
}
