package extauthz

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"extauthz/extauthz/internal/bubble"
)

// Background work that panics is counted and begun anew until its context ends.
func TestWorkThatPanicsBeginsAnew(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		metrics, begun := newMetrics(nil), 0
		supervise(ctx, slog.New(slog.DiscardHandler), metrics, panicInJWKS, func(ctx context.Context) {
			if begun++; begun == 3 {
				stop()
				return
			}
			panic("a fault")
		})
		if counted := testutil.ToFloat64(metrics.panics.WithLabelValues(panicInJWKS)); begun != 3 || counted != 2 {
			t.Errorf("begun %d times with %v panics counted, want 3 and 2", begun, counted)
		}
	})
}
