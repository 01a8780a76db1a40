package server

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// The values of the label why.
const (
	refusedMethod   = "unknown_method"
	refusedMetadata = "oversized_metadata"
)

// refusedInterval is the time between two log lines about calls that were refused for one cause.
const refusedInterval = time.Minute

// refusedCalls counts and logs the gRPC calls that are refused before anybody judges them, each of which Envoy answers
// by its failure mode. Safe for concurrent use.
type refusedCalls struct {
	log    *slog.Logger
	counts *prometheus.CounterVec

	mu         sync.Mutex
	lastLogged map[string]time.Time // when, by cause
	unlogged   map[string]int       // how many since
}

func newRefusedCalls(log *slog.Logger, registerer prometheus.Registerer) *refusedCalls {
	counts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "extauthz_calls_refused_total",
		Help: "gRPC calls refused before the check, by why: unknown_method, oversized_metadata."},
		[]string{"why"})
	registerer.MustRegister(counts)
	for _, why := range []string{refusedMethod, refusedMetadata} {
		counts.WithLabelValues(why)
	}
	return &refusedCalls{log: log, counts: counts, lastLogged: map[string]time.Time{}, unlogged: map[string]int{}}
}

// options are the gRPC server's, for calls to be refused by it.
func (r *refusedCalls) options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.UnknownServiceHandler(r.refuseMethod), grpc.InTapHandle(r.checkMetadata),
		grpc.MaxHeaderListSize(mostMetadata)}
}

func (r *refusedCalls) refuseMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	r.refuse(refusedMethod, method,
		"in Envoy, set transport_api_version: V3 for ext_authz, and let only checks and health checks come here")
	return status.Error(codes.Unimplemented,
		"extauthz answers envoy.service.auth.v3.Authorization and grpc.health.v1.Health alone")
}

// mostMetadata is what gRPC reads of a call's metadata, in bytes. It resets a call with more and tells nobody, so
// this is far above maxMetadata, by which calls are refused; a connection reads one call's at a time.
const mostMetadata = 1 << 20

// checkMetadata refuses a call with more metadata than maxMetadata.
func (r *refusedCalls) checkMetadata(ctx context.Context, call *tap.Info) (context.Context, error) {
	size := 0
	for name, values := range call.Header {
		for _, value := range values {
			size += len(name) + len(value) + 32 // as HTTP/2 counts it (RFC 9113 section 10.5.1)
		}
	}
	if size <= maxMetadata {
		return ctx, nil
	}
	r.refuse(refusedMetadata, call.FullMethodName, "send fewer initial_metadata and shorter trace headers with checks")
	return ctx, status.Errorf(codes.ResourceExhausted, "the call's metadata is larger than %d bytes", maxMetadata)
}

// refuse counts a call, and logs the first of a cause and then one a minute.
func (r *refusedCalls) refuse(why, method, fix string) {
	r.counts.WithLabelValues(why).Inc()
	r.mu.Lock()
	now := time.Now()
	unlogged := r.unlogged[why]
	if last, ok := r.lastLogged[why]; ok && now.Sub(last) < refusedInterval {
		r.unlogged[why]++
		r.mu.Unlock()
		return
	}
	r.lastLogged[why], r.unlogged[why] = now, 0
	r.mu.Unlock()
	const longest = 200 // of a name that a peer has chosen
	method = strings.ToValidUTF8(method[:min(len(method), longest)], "")
	r.log.Warn("a gRPC call was refused", "why", why, "method", method, "others_since_the_last_line", unlogged, "fix",
		fix)
}
