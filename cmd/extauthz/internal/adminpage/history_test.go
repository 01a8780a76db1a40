package adminpage

import (
	"fmt"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

type gatherNothing struct{}

func (gatherNothing) Gather() ([]*dto.MetricFamily, error) { return nil, nil }

// An hour of minutes is kept and no more, and what is shown is what was added in it.
func TestHistoryIsAnHour(t *testing.T) {
	h := newHistory(gatherNothing{})
	start := time.Now()
	h.samples = nil
	for i := range 100 {
		h.keep(sample{at: start.Add(time.Duration(i) * historyStep), checks: map[series]float64{{"allow", "jwks", ""}: float64(10 * i), {"deny", "none", "x"}: 1}})
	}
	if len(h.samples) != historySteps+1 || h.samples[0].checks[series{"allow", "jwks", ""}] != 390 {
		t.Fatalf("%d samples, the first %v", len(h.samples), h.samples[0].checks)
	}
	w := h.window(start)
	for i, m := range w.minutes[:historySteps] {
		if m.allow != 10 || m.deny != 0 {
			t.Errorf("minute %d: %+v", i, m)
		}
	}
	d := distribution{count: 100, buckets: map[float64]float64{0.1: 40, 1: 90}}.minus(distribution{count: 50, buckets: map[float64]float64{0.1: 40, 1: 40}})
	if got := fmt.Sprint(d.below(0.5), d.below(0.99)); got != "1 1" {
		t.Errorf("half and most are below %s", got)
	}
}
