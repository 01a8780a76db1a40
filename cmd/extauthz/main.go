// Command extauthz is an external-authorization server for Envoy and Istio that checks Better Auth's tokens. This
// package is its subcommands: what each is given, and its exit status. What they do stands in the rooms below internal;
// what decides is package extauthz.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/hangup"
	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/cmd/extauthz/internal/serverlog"
	"extauthz/cmd/extauthz/internal/spelling"
	"extauthz/extauthz/operator"
)

// Exit statuses. For check they are the verdict.
const (
	exitOK    = 0
	exitDeny  = 1 // check: denied; serve: it failed while running
	exitFault = 2 // could not be checked, or the command or configuration is wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	serverlog.AdoptGRPC()
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		hangup.Restore() // the others end with their terminal
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process, so that tests can call it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		manual.Usage(stderr)
		return exitFault
	}
	command, args := args[0], args[1:]
	switch command {
	case "serve":
		return serve(ctx, args, stdout, stderr)
	case "config":
		return configCommand(args, stdout, stderr)
	case "health":
		return healthCommand(ctx, args, stdout, stderr)
	case "doctor":
		return runDoctor(ctx, args, stdin, stdout, stderr)
	case "check":
		return check(ctx, args, stdin, stdout, stderr)
	case "completion":
		return completion(args, stdout, stderr)
	case "man":
		return manualPage(args, stdout, stderr)
	case "version", "--version", "-version":
		fmt.Fprintln(stdout, version())
		return exitOK
	case "help", "--help", "-help", "-h":
		if len(args) == 0 {
			manual.Usage(stdout)
			return exitOK
		}
		if c := manual.Find(args[0]); c != nil {
			c.Help(stdout)
			return exitOK
		}
		command = args[0]
	}
	commands := manual.Names()
	discreet.Complain(stderr, fmt.Sprintf("there is no command %q%s; the commands are %s", command,
		spelling.DidYouMean(command, commands), strings.Join(commands, ", ")))
	return exitFault
}

func version() string {
	text := "extauthz " + operator.Version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				text += " " + setting.Value
			}
		}
	}
	return text + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
