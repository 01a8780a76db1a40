package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/cmd/extauthz/internal/probe"
	"extauthz/cmd/extauthz/internal/sources"
)

const (
	healthTimeout    = 2 * time.Second
	maxHealthTimeout = time.Minute
)

// healthCommand asks /readyz.
func healthCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	timeout := healthTimeout
	given, rest, err := sources.ParseFlags("health", args, func(flags *flag.FlagSet) {
		flags.DurationVar(&timeout, "timeout", healthTimeout, "")
	})
	switch {
	case errors.Is(err, flag.ErrHelp):
		manual.Find("health").Help(stdout)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("health takes flags only, not %q", rest[0])
	case err == nil && (timeout <= 0 || timeout > maxHealthTimeout):
		err = fmt.Errorf("--timeout is %s; write a duration up to %s, as in 2s", timeout, maxHealthTimeout)
	}
	var targets []string
	if err == nil {
		targets, err = probe.Targets(given, os.Getenv)
	}
	ready, answer := false, ""
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ready, answer, err = probe.Ask(ctx, targets)
	}
	switch {
	case err != nil:
		discreet.Complain(stderr, err)
		return exitFault
	case !ready:
		fmt.Fprintln(stdout, answer)
		return exitDeny
	}
	fmt.Fprintln(stdout, answer)
	return exitOK
}
