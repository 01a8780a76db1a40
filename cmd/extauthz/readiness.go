package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// defaultReadyWait is how long the server waits for its last part. A wrong setting of one part holds a rollout up that
// long for each pod; an outage of one part costs a pod that starts meanwhile as much.
const defaultReadyWait = 30 * time.Second

// readyAfter says when the server is ready though not every part has answered. With none it never is: it could answer
// nothing but 503.
type readyAfter struct {
	all  bool          // never
	wait time.Duration // once one part has answered and this has passed since the start
}

// readReadyAfter reads all, any or a duration.
func readReadyAfter(s *settings, value string) error {
	switch value {
	case "all":
		s.ready = readyAfter{all: true}
		return nil
	case "any":
		s.ready = readyAfter{}
		return nil
	}
	wait, err := time.ParseDuration(value)
	if err != nil || wait < 0 {
		return fmt.Errorf("is %q; write all, any, or a duration, as in 30s", value)
	}
	s.ready = readyAfter{wait: wait}
	return nil
}

// isEnough tells whether a server of that many parts, of which so many have never answered, is ready after running that
// long.
func (r readyAfter) isEnough(parts, missing int, running time.Duration) bool {
	return missing == 0 || !r.all && missing < parts && running >= r.wait
}

// readiness is whether the server is ready, told alike by /readyz and gRPC health. Once ready it stays so: a part that
// fails later fails its own checks only.
type readiness struct {
	after   readyAfter
	began   time.Time
	missing func() []string // the parts that have never answered
	parts   int
	health  *health.Server

	mu    sync.Mutex
	ready bool
}

// look returns whether the server is ready and which parts have never answered. When it becomes ready, gRPC health says
// so before it returns.
func (r *readiness) look() (ready bool, missing []string) {
	missing = r.missing()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready && r.after.isEnough(r.parts, len(missing), time.Since(r.began)) {
		r.ready = true
		setHealth(r.health, healthpb.HealthCheckResponse_SERVING)
	}
	return r.ready, missing
}

// sentence is what the server says of its readiness, without a full stop.
func sentence(ready bool, missing []string) string {
	names := strings.Join(missing, ", ")
	switch {
	case !ready:
		return "not ready: waiting for " + names
	case names != "":
		return "ready, without " + names + ": what needs it is answered with 503"
	}
	return "ready"
}

// follow tells the log and systemd how readiness changes, until every part has answered. systemd counts the service as
// started before: it starts while its parts are down, and what waits for it need not.
func (s *servers) follow(ctx context.Context, r *readiness) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	said := ""
	for {
		ready, missing := r.look()
		if now := sentence(ready, missing); now != said {
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
