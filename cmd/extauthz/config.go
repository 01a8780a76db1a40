package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
)

// configCommand prints what is in force and where it came from; no secret. What serve would not start with is told as
// serve does.
func configCommand(args []string, stdout, stderr io.Writer) int {
	schema := false
	s, rest, err := sources.Load("config", args, os.Getenv,
		func(flags *flag.FlagSet) { flags.BoolVar(&schema, "schema", false, "") })
	switch {
	case errors.Is(err, flag.ErrHelp):
		manual.Find("config").Help(stdout)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("config takes flags only, not %q", rest[0])
	case err == nil && schema:
		if err = settings.WriteSchema(stdout); err == nil {
			return exitOK
		}
	case err == nil:
		err = sources.UnknownVariables(os.Environ())
	}
	if err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	for _, line := range sources.Misspelt(os.Environ()) {
		discreet.Complain(stderr, line)
	}
	show := func(o *settings.Origin) { fmt.Fprintf(stdout, "%-31s %-40s %s\n", o.Variable, o.ShownValue(), o.From) }
	for n := range s.Origins {
		if o := &s.Origins[n]; s.Issuers == nil || !o.IsIssuers() {
			show(o)
		}
	}
	for _, i := range s.Issuers {
		fmt.Fprintf(stdout, "\nissuer %s, %s\n", i.Name, i.At)
		for n := range i.Origins {
			if o := &i.Origins[n]; o.IsIssuers() {
				show(o)
			}
		}
	}
	return exitOK
}
