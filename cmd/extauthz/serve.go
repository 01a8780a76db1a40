package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"extauthz/extauthz"
)

const serveHelp = `extauthz serve answers Envoy's external-authorization checks (envoy.service.auth.v3) until SIGTERM or SIGINT.

It starts while its JWKS and database are down, is ready (/readyz, and gRPC health) once each
that is configured has answered, and recovers by itself.

usage: extauthz serve [flags]

`

// drainTime bounds how long checks in flight may take to end after SIGTERM.
const drainTime = 5 * time.Second

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, rest, err := loadSettings("serve", args, os.Getenv, nil)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, serveHelp)
		printSettings(stdout)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("serve takes flags only, not %q", rest[0])
	}
	if err != nil {
		fmt.Fprintln(stderr, "extauthz:", err)
		return exitFault
	}

	var (
		log      = newLogger(s, stderr)
		registry = prometheus.NewRegistry()
	)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.config.Logger, s.config.Metrics = log, registry
	authorizer, err := extauthz.New(s.config)
	if err != nil {
		fmt.Fprintln(stderr, "extauthz:", configFault(err))
		return exitFault
	}
	checks, err := listen(s.listen)
	if err != nil {
		fmt.Fprintln(stderr, "extauthz: EXTAUTHZ_LISTEN", err)
		return exitFault
	}
	admin, err := listen(s.adminListen)
	if err != nil {
		fmt.Fprintln(stderr, "extauthz: EXTAUTHZ_ADMIN_LISTEN", err)
		return exitFault
	}
	tuneCollector(os.Getenv, s.config.RememberedBytes)
	if secret := len(s.config.Secret); secret > 0 && secret < 32 {
		log.Warn("BETTER_AUTH_SECRET is shorter than 32 bytes, which HS256 asks for (RFC 7518 section 3.2)")
	}

	if err := serveUntil(ctx, s, log, authorizer, registry, checks, admin); err != nil {
		fmt.Fprintln(stderr, "extauthz:", err)
		return exitDeny
	}
	return exitOK
}

// The garbage collector's settings while the environment does not say otherwise. A check leaves little
// behind and the heap is small, so the collector's default would run many times a second for nothing;
// the soft limit keeps that from multiplying a large memory of tokens. docs/performance.md has the figures.
const (
	collectorPercent = 400       // GOGC
	collectorRoom    = 256 << 20 // of GOMEMLIMIT, beside what may be remembered
)

// tuneCollector leaves a collector alone that GOGC or GOMEMLIMIT has set.
func tuneCollector(getenv func(string) string, remembered int) {
	if getenv("GOGC") == "" && getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(collectorPercent)
		debug.SetMemoryLimit(collectorRoom + int64(max(remembered, 0)))
	}
}

// serveUntil runs the servers and the background work until ctx ends or one of them fails.
func serveUntil(ctx context.Context, s *settings, log *slog.Logger, authorizer *extauthz.Authorizer, registry *prometheus.Registry, checks, admin net.Listener) error {
	var (
		grpcServer   = grpc.NewServer(extauthz.ServerOptions()...)
		healthServer = health.NewServer()
		adminServer  = &http.Server{Handler: adminHandler(authorizer, registry), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
		failed       = make(chan error, 2)
		work         sync.WaitGroup
	)
	authorizer.Register(grpcServer)
	healthpb.RegisterHealthServer(grpcServer, healthServer)
	if s.reflection {
		reflection.Register(grpcServer)
	}
	setHealth(healthServer, healthpb.HealthCheckResponse_NOT_SERVING)

	background, stopBackground := context.WithCancel(context.Background())
	work.Go(func() { authorizer.Run(background) })
	work.Go(func() { followReadiness(background, log, authorizer, healthServer) })
	work.Go(func() {
		if err := grpcServer.Serve(checks); err != nil {
			failed <- fmt.Errorf("gRPC server: %w", err)
		}
	})
	work.Go(func() {
		if err := adminServer.Serve(admin); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("admin server: %w", err)
		}
	})
	log.Info("serving", "version", extauthz.Version, "checks", checks.Addr().String(), "admin", admin.Addr().String(),
		"issuer", s.config.Issuer, "audiences", s.config.Audiences, "hs256", len(s.config.Secret) > 0, "sessions", s.config.DatabaseURL != "")

	var err error
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-failed:
	}
	healthServer.Shutdown()
	drained := time.AfterFunc(drainTime, grpcServer.Stop)
	grpcServer.GracefulStop()
	drained.Stop()
	adminServer.Close()
	stopBackground()
	work.Wait()
	return err
}

// followReadiness turns gRPC health to serving once every part has answered.
func followReadiness(ctx context.Context, log *slog.Logger, authorizer *extauthz.Authorizer, server *health.Server) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if len(authorizer.Missing()) == 0 {
			setHealth(server, healthpb.HealthCheckResponse_SERVING)
			log.Info("ready")
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func setHealth(server *health.Server, status healthpb.HealthCheckResponse_ServingStatus) {
	server.SetServingStatus("", status)
	server.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, status)
}

func adminHandler(authorizer *extauthz.Authorizer, registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if missing := authorizer.Missing(); len(missing) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready: waiting for", strings.Join(missing, ", "))
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// listen opens host:port or unix:///path. A socket file that a crashed server left behind is
// replaced; one that somebody listens on is not.
func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix://")
	if !isUnix {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("cannot be listened on (%w); choose a free address of this machine", err)
		}
		return listener, nil
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if connection, err := net.Dial("unix", path); err == nil {
			connection.Close()
			return nil, fmt.Errorf("names %s, where another process listens; stop it or choose another path", path)
		}
		os.Remove(path)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot be listened on (%w); choose a path in a folder that exists and may be written", err)
	}
	return listener, nil
}
