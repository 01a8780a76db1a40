package main

import (
	"context"
	"strings"
	"time"

	"extauthz/cmd/extauthz/internal/readiness"
)

// follow tells the log and systemd how readiness changes, until every part has answered. systemd counts the service as
// started before: it starts while its parts are down, and what waits for it need not.
func (s *servers) follow(ctx context.Context, r *readiness.Readiness) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	said := ""
	for {
		ready, missing := r.Look()
		if now := readiness.Sentence(ready, missing); now != said {
			said = now
			switch {
			case ready && len(missing) > 0:
				s.log.Warn("ready, though not every part has answered; what needs it is answered with 503",
					"missing", strings.Join(missing, ", "))
			case ready:
				s.log.Info("ready")
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
