package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// configCommand prints what is in force and where it came from; no secret. What serve would not start with is told as serve
// does.
func configCommand(args []string, stdout, stderr io.Writer) int {
	schema := false
	s, rest, err := loadSettings("config", args, os.Getenv, func(flags *flag.FlagSet) { flags.BoolVar(&schema, "schema", false, "") })
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, configHelp)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("config takes flags only, not %q", rest[0])
	case err == nil && schema:
		if err = writeSchema(stdout); err == nil {
			return exitOK
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "extauthz:", err)
		return exitFault
	}
	for _, line := range misspelt(os.Environ()) {
		fmt.Fprintln(stderr, "extauthz:", line)
	}
	for _, o := range s.origins {
		shown := o.value
		switch {
		case shown == "":
			shown = "unset"
		case o.flag == "":
			shown = "(hidden)"
		}
		fmt.Fprintf(stdout, "%-31s %-40s %s\n", o.variable, shown, o.from)
	}
	return exitOK
}

const configHelp = `extauthz config prints the settings that serve would run with, and where each came from: a flag goes before the
environment, that before the file of --config, and that before the default. Secrets are hidden.

usage: extauthz config [flags]    with the flags of 'extauthz serve'
       extauthz config --schema   print the JSON Schema of the file, for editors
`
