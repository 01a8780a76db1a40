package extauthz

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/operator"
)

// Background work that panics is counted and begun anew until its context ends.
func TestWorkThatPanicsBeginsAnew(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		metrics, begun := observe.NewMetrics(nil, operator.Version, jwks.Results()), 0
		testPanics(metrics).Supervise(ctx, guard.InJWKS, func(ctx context.Context) {
			if begun++; begun == 3 {
				stop()
				return
			}
			panic("a fault")
		})
		if counted := testutil.ToFloat64(metrics.Panics.WithLabelValues(guard.InJWKS)); begun != 3 || counted != 2 {
			t.Errorf("begun %d times with %v panics counted, want 3 and 2", begun, counted)
		}
	})
}

// testPanics counts by metrics and logs nowhere.
func testPanics(metrics *observe.Metrics) *guard.Panics {
	return guard.New(slog.New(slog.DiscardHandler), metrics.CountPanic)
}
