// Package server serves checks by gRPC and operators by HTTP, from the first connection to the last. It imports the
// rooms of what it serves with: adminpage, audit, certificates, readiness, reload, settings, naming, systemd, traces
// and discreet. It does not know how any of them was made, or how a check is decided.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"extauthz/cmd/extauthz/internal/adminpage"
	"extauthz/cmd/extauthz/internal/audit"
	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/readiness"
	"extauthz/cmd/extauthz/internal/reload"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// Server is what serves, and what for.
type Server struct {
	Log          *slog.Logger
	Authorizer   *extauthz.Authorizer
	Registry     *prometheus.Registry
	Certificates *certificates.Certificates // nil without TLS
	Checks       []net.Listener
	Admins       []net.Listener        // one, unless systemd passed several
	Audit        *audit.Log            // nil without one
	Traces       *trace.TracerProvider // nil without them
	Hangups      <-chan os.Signal      // SIGHUP
	Shadow       bool
	page         *adminpage.Page // nil without one
	Reloader     *reload.Reloader
}

// Run runs the servers and the background work until ctx ends or one of them fails.
func (s *Server) Run(ctx context.Context, inForce *settings.Settings) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		grpcServer   = s.newGRPC(inForce.MaxConnectionAge)
		healthServer = health.NewServer()
		ready        = readiness.New(inForce.Ready, func() int { return len(s.Authorizer.Parts()) }, s.Authorizer.Missing, healthServer)
		failed       = make(chan error, len(s.Checks)+len(s.Admins))
		addresses    []string
		work         sync.WaitGroup
	)
	if inForce.AdminPage {
		s.page = adminpage.New(s.Authorizer, s.Registry, ready, s.Shadow)
	}
	adminServer := s.newAdmin(ctx, ready)
	if err := s.Authorizer.Register(grpcServer); err != nil {
		return err
	}
	healthpb.RegisterHealthServer(grpcServer, healthServer)
	if inForce.Reflection {
		reflection.Register(grpcServer)
	}

	background, stopBackground := context.WithCancel(context.Background())
	work.Go(func() { s.Authorizer.Run(background) })
	work.Go(func() { s.follow(ctx, ready) })
	work.Go(func() { s.followSettings(ctx, s.Hangups) })
	if s.page != nil {
		work.Go(func() { s.page.Run(ctx) })
	}
	for _, listener := range s.Checks {
		addresses = append(addresses, listener.Addr().String())
		work.Go(func() {
			if err := grpcServer.Serve(listener); err != nil {
				failed <- fmt.Errorf("gRPC server: %w", err)
			}
		})
	}
	for _, listener := range s.Admins {
		work.Go(func() {
			if err := adminServer.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("admin server: %w", err)
			}
		})
	}
	s.notify(daemon.SdNotifyReady)
	accepts := func(i *settings.Issuer) []any {
		return []any{"issuer", discreet.URL(i.Config.Issuer),
			"audiences", discreet.Value(strings.Join(i.Config.Audiences, ",")), "hs256", len(i.Config.Secret) > 0,
			"sessions", i.Config.DatabaseURL != "" || i.Config.RedisURL != ""}
	}
	serving := []any{"version", operator.Version, "checks", addresses, "admin", s.Admins[0].Addr().String(),
		"tls", s.Certificates != nil, "traces", inForce.Config.TracerProvider != nil}
	if inForce.Issuers == nil {
		serving = append(serving, accepts(&settings.Issuer{Settings: inForce})...)
	}
	s.Log.Info("serving", serving...)
	for _, i := range inForce.Issuers {
		s.Log.Info("accepting", append([]any{"name", i.Name}, accepts(i)...)...)
	}

	var err error
	select {
	case <-ctx.Done():
		// First nobody new is to come, then nobody new is let in, and last those who are in are done.
		s.notify(daemon.SdNotifyStopping)
		s.Log.Info("stopping", "delay", inForce.ShutdownDelay.String())
		healthServer.Shutdown()
		select {
		case <-time.After(inForce.ShutdownDelay):
		case err = <-failed:
		}
	case err = <-failed:
		healthServer.Shutdown()
		stop()
	}
	s.stop(grpcServer, adminServer, stopBackground, &work)
	return err
}
