// Package readiness says when a server is ready whose parts have not all answered yet. It imports no other room and
// does not know what a part is.
package readiness

import (
	"fmt"
	"strings"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// DefaultWait is how long the server waits for its last part. A wrong setting of one part holds a rollout up that
// long for each pod; an outage of one part costs a pod that starts meanwhile as much.
const DefaultWait = 30 * time.Second

// After says when the server is ready though not every part has answered. With none it never is: it could answer
// nothing but 503.
type After struct {
	all  bool          // never
	wait time.Duration // once one part has answered and this has passed since the start
}

// ParseAfter reads all, any or a duration. Its error completes the sentence "VARIABLE …".
func ParseAfter(value string) (After, error) {
	switch value {
	case "all":
		return After{all: true}, nil
	case "any":
		return After{}, nil
	}
	wait, err := time.ParseDuration(value)
	if err != nil || wait < 0 {
		return After{}, fmt.Errorf("is %q; write all, any, or a duration, as in 30s", value)
	}
	return After{wait: wait}, nil
}

// isEnough tells whether a server of that many parts, of which so many have never answered, is ready after running that
// long.
func (r After) isEnough(parts, missing int, running time.Duration) bool {
	return missing == 0 || !r.all && missing < parts && running >= r.wait
}

// Readiness is whether the server is ready, told alike by /readyz and gRPC health. Once ready it stays so: a part that
// fails later fails its own checks only.
type Readiness struct {
	after   After
	began   time.Time
	missing func() []string // the parts that have never answered
	parts   func() int
	health  *health.Server

	mu    sync.Mutex
	ready bool
}

// New begins now. missing names the parts that have never answered, of as many as parts says; both may change.
func New(after After, parts func() int, missing func() []string, health *health.Server) *Readiness {
	setHealth(health, healthpb.HealthCheckResponse_NOT_SERVING)
	return &Readiness{after: after, began: time.Now(), parts: parts, missing: missing, health: health}
}

// Look returns whether the server is ready and which parts have never answered. When it becomes ready, gRPC health says
// so before it returns.
func (r *Readiness) Look() (ready bool, missing []string) {
	missing = r.missing()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready && r.after.isEnough(r.parts(), len(missing), time.Since(r.began)) {
		r.ready = true
		setHealth(r.health, healthpb.HealthCheckResponse_SERVING)
	}
	return r.ready, missing
}

// Sentence is what the server says of its readiness, without a full stop.
func Sentence(ready bool, missing []string) string {
	names := strings.Join(missing, ", ")
	switch {
	case !ready:
		return "not ready: waiting for " + names
	case names != "":
		return "ready, without " + names + ": checks that need it get 503"
	}
	return "ready"
}

func setHealth(server *health.Server, status healthpb.HealthCheckResponse_ServingStatus) {
	server.SetServingStatus("", status)
	server.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, status)
}
