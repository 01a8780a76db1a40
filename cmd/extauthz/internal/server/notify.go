package server

import (
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"

	"extauthz/cmd/extauthz/internal/systemd"
)

// notify tells systemd how the service is (sd_notify(3)). Where there is no systemd nothing happens.
func (s *Server) notify(states ...string) {
	if err := systemd.Send(os.Getenv("NOTIFY_SOCKET"), strings.Join(states, "\n")); err != nil {
		s.Log.Warn("systemd cannot be notified", "error", err)
	}
}

// notifyReloading begins a reload, which READY=1 ends (sd_notify(3)).
func (s *Server) notifyReloading() {
	s.notify(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
}
