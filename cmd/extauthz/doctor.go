package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/doctor"
	"extauthz/cmd/extauthz/internal/doctor/backend"
	"extauthz/cmd/extauthz/internal/doctor/envoy"
	"extauthz/cmd/extauthz/internal/explain"
	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/cmd/extauthz/internal/sources"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// doctorPatience bounds all that doctor does, but for the backend, where each request has a bound of its own.
const doctorPatience = 30 * time.Second

// doctorArguments are what doctor is asked to look at beside the settings.
type doctorArguments struct {
	token, cookie, envoy, url, origin, backend string
	json                                       bool
}

func runDoctor(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var given doctorArguments
	s, rest, err := sources.Load("doctor", args, os.Getenv, func(flags *flag.FlagSet) {
		flags.StringVar(&given.token, "token", "", "")
		flags.StringVar(&given.cookie, "cookie", "", "")
		flags.StringVar(&given.envoy, "envoy", "", "")
		flags.StringVar(&given.url, "url", "", "")
		flags.StringVar(&given.origin, "origin", "", "")
		flags.StringVar(&given.backend, "backend", "", "")
		flags.BoolVar(&given.json, "json", false, "")
	})
	switch {
	case errors.Is(err, flag.ErrHelp):
		manual.Find("doctor").Help(stdout)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("doctor takes flags only, not %q", rest[0])
	case err == nil && given.token == "-" && given.cookie == "-":
		err = errors.New("only one of --token and --cookie can be read from standard input")
	case err == nil && given.origin != "" && given.url == "":
		err = errors.New("--origin requires --url, the address that a browser there would call")
	}
	var target backend.Address
	if err == nil && given.backend != "" {
		target, err = backend.Parse(given.backend)
	}
	unbounded := ctx
	if err == nil && given.onlyBackend() {
		return report(stdout, stderr, given.json, backend.Diagnose(unbounded, target))
	}
	var authorizer *extauthz.Authorizer
	if err == nil {
		s.Config.Logger = slog.New(slog.DiscardHandler) // the findings tell it all
		if authorizer, err = extauthz.New(s.Config); err != nil {
			err = naming.Fault(s, err)
		}
	}
	if err == nil && s.TLS.Certificate != "" {
		_, err = certificates.New(s.TLS, s.Config.Logger)
	}
	if err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	found := doctor.Settings(s, os.Environ())
	found = append(found, authorizer.Operator().Diagnose(ctx)...)
	go authorizer.Run(ctx)
	for _, credential := range []struct {
		name, text string
		isCookie   bool
	}{{"--token", given.token, false}, {"--cookie", given.cookie, true}} {
		if credential.text == "" {
			continue
		}
		text, err := explain.Text(credential.text, stdin)
		if err != nil {
			discreet.Complain(stderr, credential.name, err)
			return exitFault
		}
		found = append(found, doctor.Credential(ctx, authorizer, text, credential.isCookie)...)
		if credential.name == "--token" {
			given.token = text
		}
	}
	if given.envoy != "" {
		var asked []envoy.Asked
		found = append(found, envoy.Diagnose(ctx, given.envoy, &asked, doctor.AuthPaths(s)...)...)
		found = append(found, doctor.Rules(ctx, authorizer.Operator(), asked)...)
	}
	if given.url != "" {
		found = append(found, doctor.Request(ctx, given.url, given.token, given.origin)...)
	}
	if given.backend != "" {
		found = append(found, backend.Diagnose(unbounded, target)...)
	}
	return report(stdout, stderr, given.json, found)
}

// onlyBackend tells whether nothing else is asked for: then somebody asks who has none of the server's settings.
func (a *doctorArguments) onlyBackend() bool {
	return a.backend != "" && a.token == "" && a.cookie == "" && a.envoy == "" && a.url == ""
}

// report prints what was found, and returns the exit status.
func report(stdout, stderr io.Writer, asJSON bool, found []operator.Finding) int {
	write := doctor.Print
	if asJSON {
		write = doctor.PrintJSON
	}
	if err := write(stdout, found); err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	switch doctor.Worst(found) {
	case operator.LevelFailure:
		return exitFault
	case operator.LevelWarning:
		return exitDeny
	}
	return exitOK
}
