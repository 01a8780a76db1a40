package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"extauthz/cmd/extauthz/internal/audit"
	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/collector"
	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/lines"
	"extauthz/cmd/extauthz/internal/manual"
	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/cmd/extauthz/internal/reload"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/cmd/extauthz/internal/serverlog"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
	"extauthz/cmd/extauthz/internal/traces"
	"extauthz/extauthz"
)

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	hangup := make(chan os.Signal, 1) // before the settings are read, so that one that comes meanwhile reads them again
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	signal.Ignore(syscall.SIGPIPE) // which would end the process when a reader of its streams goes away
	dryRun := false
	more := func(flags *flag.FlagSet) { flags.BoolVar(&dryRun, "dry-run", false, "") }
	s, rest, err := sources.Load("serve", args, os.Getenv, more)
	switch {
	case errors.Is(err, flag.ErrHelp):
		manual.Find("serve").Help(stdout)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("serve takes flags only, not %q", rest[0])
	case err == nil:
		err = sources.UnknownVariables(os.Environ())
	}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_log_dropped_total",
		Help: "Log lines dropped because standard error could not be written in time."})
	outFile, errFile := lines.Standard(stdout, stderr)
	format := ""
	if s != nil { // the settings could be read
		format = s.LogFormat
	}
	logLines := serverlog.Lines(errFile, format, func(count int) { dropped.Add(float64(count)) })
	defer logLines.Close(serverlog.EndTime)
	stderr = logLines // from here on nothing waits for its reader
	if err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}

	var (
		level = new(slog.LevelVar)
		log   = slog.New(naming.Log{Handler: serverlog.New(format, stderr, level).Handler()})
		read  = func() (*settings.Settings, error) {
			s, _, err := sources.Load("serve", args, os.Getenv, more)
			return s, err
		}
		inForce  = *s // as it was read; what follows adds to s
		reloader = reload.New(&inForce, read, level, log)
		registry = prometheus.NewRegistry()
	)
	defer serverlog.Adopt(log)()
	for _, line := range sources.Misspelt(os.Environ()) {
		log.Warn(line)
	}
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), dropped)
	s.Config.Logger, s.Config.Metrics = log, registry
	var auditLog *audit.Log
	if s.AuditLog != "" && !dryRun {
		path := s.AuditLog
		if path == "stdout" {
			path = ""
		}
		if auditLog, err = audit.New(path, outFile, log, registry); err != nil {
			discreet.Complain(stderr, err)
			return exitFault
		}
		s.Config.Audit = auditLog.Record
	}
	traces, err := traces.New(ctx, log)
	if err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	if traces != nil {
		s.Config.TracerProvider = traces
	}
	if s.Config.ReadDatabaseURL != nil {
		s.Config.ReadDatabaseURL = reloader.ReadDatabaseURL
	}
	if s.Config.ReadRedisURL != nil {
		s.Config.ReadRedisURL = reloader.ReadRedisURL
	}
	authorizer, err := extauthz.New(s.Config)
	if err != nil {
		discreet.Complain(stderr, naming.Fault(s, err))
		return exitFault
	}
	reloader.Replace, reloader.SetIssuers = authorizer.ReplaceSecrets, authorizer.SetIssuers
	servers := &server.Server{Log: log, Reloader: reloader, Authorizer: authorizer, Registry: registry, Audit: auditLog,
		Traces: traces, Hangups: hangup,
		Shadow: s.Config.Shadow != extauthz.ShadowOff}
	if s.TLS.Certificate != "" {
		if servers.Certificates, err = certificates.New(s.TLS, log); err != nil {
			discreet.Complain(stderr, err)
			return exitFault
		}
	}
	if dryRun {
		fmt.Fprintln(stdout, "configuration valid; no connection was made")
		return exitOK
	}
	for _, address := range s.Listen {
		listeners, err := address.Listen()
		if err != nil {
			discreet.Complain(stderr, s.NameOf("EXTAUTHZ_LISTEN"), err)
			return exitFault
		}
		servers.Checks = append(servers.Checks, listeners...)
	}
	if servers.Admins, err = s.AdminListen.Listen(); err != nil {
		discreet.Complain(stderr, s.NameOf("EXTAUTHZ_ADMIN_LISTEN"), err)
		return exitFault
	}
	collector.Tune(os.Getenv, s.Config.RememberedBytes, os.DirFS("/"), log)
	reload.WarnOfShortSecret(log, s)
	if err := servers.Run(ctx, s); err != nil {
		discreet.Complain(stderr, err)
		return exitDeny
	}
	return exitOK
}
