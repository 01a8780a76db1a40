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
	case err == nil:
		err = unknownVariables(os.Environ())
	}
	if err != nil {
		complain(stderr, err)
		return exitFault
	}
	for _, line := range misspelt(os.Environ()) {
		complain(stderr, line)
	}
	for _, o := range s.origins {
		fmt.Fprintf(stdout, "%-31s %-40s %s\n", o.variable, o.shownValue(), o.from)
	}
	return exitOK
}

const configHelp = `extauthz config prints the settings that serve would run with, and where each came from: a flag goes before the
environment, that before the file of --config, and that before the default. Secrets are hidden.

usage: extauthz config [flags]    with the flags of 'extauthz serve'
       extauthz config --schema   print the JSON Schema of the file, for editors
`
