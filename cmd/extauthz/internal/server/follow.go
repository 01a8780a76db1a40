package server

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"extauthz/cmd/extauthz/internal/readiness"
)

// follow tells the log and systemd how readiness changes, until every part has answered. systemd counts the service as
// started before: it starts while its parts are down, and what waits for it need not.
func (s *Server) follow(ctx context.Context, r *readiness.Readiness) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	said := ""
	for {
		ready, missing := r.Look()
		if now := readiness.Sentence(ready, missing); now != said {
			said = now
			switch {
			case ready && len(missing) > 0:
				s.Log.Warn("ready, but not every part has answered; checks that need it get 503",
					"missing", strings.Join(missing, ", "))
			case ready:
				s.Log.Info("ready")
			}
			s.notify("STATUS=" + strings.TrimPrefix(now, "not ready: "))
		}
		if ready && len(missing) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

const (
	// ReloadInterval is how often the files are looked at. In Kubernetes a ConfigMap or a Secret reaches its pods
	// within a minute or so, by a symlink that is moved.
	ReloadInterval = 1500 * time.Millisecond
	// LogReloaded ends what SIGHUP began.
	LogReloaded = "SIGHUP: done"
)

// followSettings puts changed settings in force when their files change or on SIGHUP, which also fetches the JWKS and
// opens the audit log anew, until ctx ends.
func (s *Server) followSettings(ctx context.Context, hangup <-chan os.Signal) {
	var tick <-chan time.Time // never, without files
	if s.Reloader.HasFiles() {
		ticker := time.NewTicker(ReloadInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			s.Reloader.Look(ctx)
		case <-hangup:
			s.hangup(ctx)
		}
	}
}

// hangup answers SIGHUP.
func (s *Server) hangup(ctx context.Context) {
	s.notifyReloading()
	s.Log.Info("SIGHUP: reading the settings, fetching the JWKS, reopening the audit log")
	s.Authorizer.Refresh()
	if s.Audit != nil {
		s.Audit.Reopen()
	}
	s.Reloader.Again()
	came := s.Reloader.Look(ctx)
	s.Log.Info(LogReloaded, "settings", string(came))
	s.notify(daemon.SdNotifyReady)
}
