package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"extauthz/cmd/extauthz/internal/adminpage"
	"extauthz/cmd/extauthz/internal/audit"
	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/collector"
	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/lines"
	"extauthz/cmd/extauthz/internal/readiness"
	"extauthz/cmd/extauthz/internal/reload"
	"extauthz/cmd/extauthz/internal/serverlog"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
	"extauthz/cmd/extauthz/internal/traces"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

const serveHelp = `extauthz serve answers Envoy's external-authorization checks (envoy.service.auth.v3) until SIGTERM or SIGINT.

It starts while its JWKS and database are down, is ready (/readyz, and gRPC health) once each that is configured has answered, or after
EXTAUTHZ_READY once one has, and recovers by itself.

While it runs it looks at the files of secrets and at the file of settings, and at SIGHUP at once. A change takes effect
whole, or is refused whole and logged, and the earlier settings stay. These can change: BETTER_AUTH_SECRET_FILE,
BETTER_AUTH_SECRETS_FILE and what stands in them, EXTAUTHZ_FORMER_SECRETS, DATABASE_URL_FILE, EXTAUTHZ_LOG_LEVEL. A change of
any other setting waits for a restart.

usage: extauthz serve [flags]
       extauthz serve --dry-run [flags]    read the configuration and its files, say whether they can be used, and end

`

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
		fmt.Fprint(stdout, serveHelp)
		settings.Print(stdout)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("serve takes flags only, not %q", rest[0])
	case err == nil:
		err = sources.UnknownVariables(os.Environ())
	}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_log_dropped_total",
		Help: "Lines of the log that were dropped since standard error could not be written in time."})
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
		log   = slog.New(settings.NamingLog{Handler: serverlog.New(format, stderr, level).Handler()})
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
	authorizer, err := extauthz.New(s.Config)
	if err != nil {
		discreet.Complain(stderr, s.ConfigFault(err))
		return exitFault
	}
	reloader.Replace = authorizer.ReplaceSecrets
	servers := &servers{log: log, reloader: reloader, authorizer: authorizer, registry: registry, audit: auditLog,
		traces: traces, hangups: hangup,
		shadow: s.Config.Shadow != extauthz.ShadowOff}
	if s.TLS.Certificate != "" {
		if servers.certificates, err = certificates.New(s.TLS, log); err != nil {
			discreet.Complain(stderr, err)
			return exitFault
		}
	}
	if dryRun {
		fmt.Fprintln(stdout, "the configuration is usable; nothing was reached for and nothing is served")
		return exitOK
	}
	for _, address := range s.Listen {
		listeners, err := address.Listen()
		if err != nil {
			discreet.Complain(stderr, s.NameOf("EXTAUTHZ_LISTEN"), err)
			return exitFault
		}
		servers.checks = append(servers.checks, listeners...)
	}
	if servers.admins, err = s.AdminListen.Listen(); err != nil {
		discreet.Complain(stderr, s.NameOf("EXTAUTHZ_ADMIN_LISTEN"), err)
		return exitFault
	}
	collector.Tune(os.Getenv, s.Config.RememberedBytes, os.DirFS("/"), log)
	reload.WarnOfShortSecret(log, s)
	if err := servers.serveUntil(ctx, s); err != nil {
		discreet.Complain(stderr, err)
		return exitDeny
	}
	return exitOK
}

// Bounds of one connection.
const (
	maxMessage          = 1 << 20          // bytes of a message other than a check's, which EXTAUTHZ_MAX_MESSAGE_MIB bounds
	handshakeTimeout    = 10 * time.Second // for TLS and HTTP/2 to begin
	maxStreams          = 16 << 10         // checks in flight
	maxMetadata         = 16 << 10         // bytes of gRPC's own headers; a client's are in the message
	connectionAgeGrace  = 10 * time.Second // for checks that are in flight when a connection is too old
	keepaliveTime       = 30 * time.Second // of silence, after which a client is asked whether it is there
	keepaliveTimeout    = 10 * time.Second // for its answer
	minKeepaliveOfPeers = 5 * time.Second  // how often a client may ask; Envoy's samples ask less often
)

// servers is what serves, and what for.
type servers struct {
	log          *slog.Logger
	authorizer   *extauthz.Authorizer
	registry     *prometheus.Registry
	certificates *certificates.Certificates // nil without TLS
	checks       []net.Listener
	admins       []net.Listener        // one, unless systemd passed several
	audit        *audit.Log            // nil without one
	traces       *trace.TracerProvider // nil without them
	hangups      <-chan os.Signal      // SIGHUP
	shadow       bool
	page         *adminpage.Page // nil without one
	reloader     *reload.Reloader
}

// newGRPC makes the server for checks.
func (s *servers) newGRPC(maxConnectionAge time.Duration) *grpc.Server {
	parameters := keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}
	if maxConnectionAge > 0 {
		parameters.MaxConnectionAge, parameters.MaxConnectionAgeGrace = maxConnectionAge, connectionAgeGrace
	}
	options := append(extauthz.ServerOptions(), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(maxStreams), grpc.MaxRecvMsgSize(maxMessage), grpc.KeepaliveParams(parameters),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minKeepaliveOfPeers, PermitWithoutStream: true}))
	options = append(options, newRefusedCalls(s.log, s.registry).options()...)
	if s.certificates != nil {
		options = append(options, grpc.Creds(s.certificates.Transport()))
		s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "extauthz_tls_certificate_not_after_seconds", Help: "When the listener's certificate ends, in Unix seconds.",
		}, func() float64 { return float64(certificates.NotAfter(s.certificates.Latest()).Unix()) }))
	}
	return grpc.NewServer(options...)
}

// serveUntil runs the servers and the background work until ctx ends or one of them fails.
func (s *servers) serveUntil(ctx context.Context, settings *settings.Settings) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		grpcServer   = s.newGRPC(settings.MaxConnectionAge)
		healthServer = health.NewServer()
		ready        = readiness.New(settings.Ready, len(s.authorizer.Parts()), s.authorizer.Missing, healthServer)
		failed       = make(chan error, len(s.checks)+len(s.admins))
		addresses    []string
		work         sync.WaitGroup
	)
	if settings.AdminPage {
		s.page = adminpage.New(s.authorizer, s.registry, ready, s.shadow)
	}
	adminServer := s.newAdmin(ctx, ready)
	if err := s.authorizer.Register(grpcServer); err != nil {
		return err
	}
	healthpb.RegisterHealthServer(grpcServer, healthServer)
	if settings.Reflection {
		reflection.Register(grpcServer)
	}

	background, stopBackground := context.WithCancel(context.Background())
	work.Go(func() { s.authorizer.Run(background) })
	work.Go(func() { s.follow(ctx, ready) })
	work.Go(func() { s.followSettings(ctx, s.hangups) })
	if s.page != nil {
		work.Go(func() { s.page.Run(ctx) })
	}
	for _, listener := range s.checks {
		addresses = append(addresses, listener.Addr().String())
		work.Go(func() {
			if err := grpcServer.Serve(listener); err != nil {
				failed <- fmt.Errorf("gRPC server: %w", err)
			}
		})
	}
	for _, listener := range s.admins {
		work.Go(func() {
			if err := adminServer.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("admin server: %w", err)
			}
		})
	}
	s.notify(daemon.SdNotifyReady)
	s.log.Info("serving", "version", operator.Version, "checks", addresses, "admin", s.admins[0].Addr().String(), "tls", s.certificates != nil, "traces", settings.Config.TracerProvider != nil,
		"issuer", discreet.URL(settings.Config.Issuer), "audiences", discreet.Value(strings.Join(settings.Config.Audiences, ",")), "hs256", len(settings.Config.Secret) > 0, "sessions", settings.Config.DatabaseURL != "")

	var err error
	select {
	case <-ctx.Done():
		// First nobody new is to come, then nobody new is let in, and last those who are in are done.
		s.notify(daemon.SdNotifyStopping)
		s.log.Info("stopping", "delay", settings.ShutdownDelay.String())
		healthServer.Shutdown()
		select {
		case <-time.After(settings.ShutdownDelay):
		case err = <-failed:
		}
	case err = <-failed:
		healthServer.Shutdown()
		stop()
	}
	s.stop(grpcServer, adminServer, stopBackground, &work)
	return err
}

// Bounds of the admin listener: who is slow to ask or to read is not waited for.
const (
	adminRead    = 10 * time.Second // for a request
	adminWrite   = 30 * time.Second // for its answer; an explanation waits for the issuer and the database
	adminIdle    = time.Minute      // between two requests
	adminHeaders = 64 << 10         // bytes of a request's headers
)

func (s *servers) newAdmin(ctx context.Context, ready *readiness.Readiness) *http.Server {
	return &http.Server{
		Handler: s.adminHandler(ctx, ready), ReadHeaderTimeout: adminRead / 2, ReadTimeout: adminRead, WriteTimeout: adminWrite, IdleTimeout: adminIdle,
		MaxHeaderBytes: adminHeaders, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

// adminHandler serves what operators ask. Once ctx ends the server is not ready any more.
func (s *servers) adminHandler(ctx context.Context, ready *readiness.Readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		isReady, missing := ready.Look()
		switch {
		case ctx.Err() != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready: shutting down")
		case !isReady:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, readiness.Sentence(isReady, missing))
		default:
			fmt.Fprintln(w, readiness.Sentence(isReady, missing)+
				map[bool]string{true: ", in shadow mode: every request is allowed"}[s.shadow])
		}
		if r.URL.Query().Has("verbose") {
			for _, part := range s.authorizer.Parts() {
				fmt.Fprintln(w, settings.Named(part.String()))
			}
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	if s.page != nil {
		mux.Handle("/", s.page.Handler())
	}
	return mux
}
