package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/explain"
	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/cmd/extauthz/internal/sources"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

func check(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var isCookie bool
	s, rest, err := sources.Load("check", args, os.Getenv, func(flags *flag.FlagSet) {
		flags.BoolVar(&isCookie, "cookie", false, "the credential is the session cookie's value")
	})
	switch {
	case errors.Is(err, flag.ErrHelp):
		manual.Find("check").Help(stdout)
		return exitOK
	case err == nil && len(rest) != 1:
		err = errors.New("check takes one TOKEN, or - to read it from standard input")
	case err == nil:
		err = sources.UnknownVariables(os.Environ())
	}
	if err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	text, err := explain.Text(rest[0], stdin)
	if err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	s.Config.Logger = slog.New(slog.DiscardHandler) // the steps tell it all
	authorizer, err := extauthz.New(s.Config)
	if err != nil {
		discreet.Complain(stderr, naming.Fault(s, err))
		return exitFault
	}

	ctx, cancel := context.WithTimeout(ctx, explain.Timeout)
	defer cancel()
	go authorizer.Run(ctx)
	explanation := explain.Credential(ctx, authorizer, text, isCookie)
	for _, step := range explanation.Steps {
		printStep(stdout, step)
	}
	return printVerdict(stdout, explanation)
}

func printStep(w io.Writer, step operator.Step) {
	switch {
	case step.Denial != nil:
		fmt.Fprintf(w, "%-10s FAIL  %s\n", step.Name, naming.Text(step.Denial.Error()))
		fmt.Fprintf(w, "%16s %s\n", "", naming.Text(step.Denial.Meaning()))
		fmt.Fprintf(w, "%16s fix: %s\n", "", naming.Text(step.Denial.Fix()))
	case step.Reached:
		fmt.Fprintf(w, "%-10s ok    %s\n", step.Name, step.Found)
	default:
		fmt.Fprintf(w, "%-10s -     not checked\n", step.Name)
	}
}

func printVerdict(w io.Writer, explanation extauthz.Explanation) int {
	denial, identity := explanation.Denial, explanation.Identity
	switch {
	case denial == nil:
		of := ""
		if explanation.Issuer != "" {
			of = ", of issuer " + explanation.Issuer
		}
		fmt.Fprintf(w, "\nallow: %s by %s%s\n", operator.EncodeHeader(identity.Subject), identity.Method, of)
		return exitOK
	case denial.Status() == 503:
		fmt.Fprintf(w, "\nnot checked: %d %s (%s)\n", denial.Status(), denial.Detail(), denial.Reason())
		return exitFault
	}
	fmt.Fprintf(w, "\ndeny: %d %s (%s)\n", denial.Status(), denial.Detail(), denial.Reason())
	return exitDeny
}
