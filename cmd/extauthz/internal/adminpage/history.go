package adminpage

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const (
	historyStep  = time.Minute
	historySteps = 60
)

// history keeps what the metrics said at the end of each of the last minutes, for the admin page. Safe for concurrent
// use.
type history struct {
	registry prometheus.Gatherer

	mu      sync.Mutex
	samples []sample // the oldest first; at most historySteps and one
}

// sample is the metrics at one time; all that is in it only grows.
type sample struct {
	at        time.Time
	checks    map[series]float64
	durations map[string]distribution // by what took the time
	gauges    map[string]float64
}

// series is a series of extauthz_checks_total.
type series struct{ outcome, method, reason string }

// distribution is a histogram: how many took up to so many seconds, cumulative.
type distribution struct {
	count, sum float64
	buckets    map[float64]float64
}

// timed are the histograms that the page shows, and how it calls them.
var timed = map[string]string{
	"extauthz_check_duration_seconds":            "check, ",
	"extauthz_database_query_duration_seconds":   "query to PostgreSQL",
	"extauthz_redis_round_trip_duration_seconds": "round trip to Redis",
	"extauthz_jwks_fetch_duration_seconds":       "fetch of the JWKS",
}

func newHistory(registry prometheus.Gatherer) *history {
	h := &history{registry: registry}
	h.samples = []sample{h.take(time.Now())}
	return h
}

// run takes a sample a minute until ctx ends.
func (h *history) run(ctx context.Context) {
	ticker := time.NewTicker(historyStep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			h.keep(h.take(now))
		}
	}
}

func (h *history) keep(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.samples = append(h.samples, s)
	if extra := len(h.samples) - historySteps - 1; extra > 0 {
		h.samples = slices.Delete(h.samples, 0, extra)
	}
}

// take reads the metrics.
func (h *history) take(now time.Time) sample {
	s := sample{at: now, checks: map[series]float64{}, durations: map[string]distribution{}, gauges: map[string]float64{}}
	families, _ := h.registry.Gather() // what cannot be gathered is not shown
	for _, family := range families {
		for _, metric := range family.Metric {
			label := labels(metric)
			name, isTimed := timed[family.GetName()]
			switch {
			case family.GetName() == "extauthz_checks_total":
				s.checks[series{label["outcome"], label["method"], label["reason"]}] = metric.GetCounter().GetValue()
			case isTimed:
				s.durations[name+label["method"]] = s.durations[name+label["method"]].plus(distributionOf(metric.GetHistogram()))
			case label["issuer"] != "" && family.GetType() == dto.MetricType_GAUGE:
				s.gauges[family.GetName()+" "+label["issuer"]] = metric.GetGauge().GetValue()
			case label["issuer"] != "" && label["outcome"] != "":
				s.gauges[family.GetName()+" "+label["issuer"]+" "+label["outcome"]] = metric.GetCounter().GetValue()
			case label["issuer"] != "": // of all issuers
				s.gauges[family.GetName()+" "+label["result"]] += metric.GetCounter().GetValue()
			case family.GetType() == dto.MetricType_GAUGE:
				s.gauges[family.GetName()] = metric.GetGauge().GetValue()
			case len(label) == 0:
				s.gauges[family.GetName()] = metric.GetCounter().GetValue()
			default:
				s.gauges[family.GetName()+" "+label["result"]] = metric.GetCounter().GetValue()
			}
		}
	}
	return s
}

func labels(metric *dto.Metric) map[string]string {
	found := map[string]string{}
	for _, pair := range metric.Label {
		found[pair.GetName()] = pair.GetValue()
	}
	return found
}

func distributionOf(histogram *dto.Histogram) distribution {
	d := distribution{count: float64(histogram.GetSampleCount()), sum: histogram.GetSampleSum(),
		buckets: map[float64]float64{}}
	for _, bucket := range histogram.Bucket {
		d.buckets[bucket.GetUpperBound()] = float64(bucket.GetCumulativeCount())
	}
	return d
}

// plus is both together.
func (d distribution) plus(other distribution) distribution {
	sum := distribution{count: d.count + other.count, sum: d.sum + other.sum, buckets: maps.Clone(other.buckets)}
	for bound, count := range d.buckets {
		sum.buckets[bound] += count
	}
	return sum
}

// minus is what was added since an earlier time.
func (d distribution) minus(earlier distribution) distribution {
	since := distribution{count: d.count - earlier.count, sum: d.sum - earlier.sum, buckets: map[float64]float64{}}
	for bound, count := range d.buckets {
		since.buckets[bound] = count - earlier.buckets[bound]
	}
	return since
}

// below is a time that this share of all stayed within: the bound of a bucket, in seconds; +Inf past the last one.
func (d distribution) below(share float64) float64 {
	for _, bound := range slices.Sorted(maps.Keys(d.buckets)) {
		if d.buckets[bound] >= share*d.count {
			return bound
		}
	}
	return math.Inf(1)
}

// window is what happened between the oldest sample and now, and in each minute of it.
type window struct {
	from, to sample
	minutes  []minute // the oldest first
}

// minute is the checks of one step by their outcome.
type minute struct {
	start                    time.Time
	allow, deny, unavailable float64
}

func (h *history) window(now time.Time) window {
	current := h.take(now)
	h.mu.Lock()
	samples := append(slices.Clone(h.samples), current)
	h.mu.Unlock()
	w := window{from: samples[0], to: current}
	for i, earlier := range samples[:len(samples)-1] {
		later := samples[i+1]
		m := minute{start: earlier.at}
		for s, count := range later.checks {
			switch added := count - earlier.checks[s]; s.outcome {
			case "allow":
				m.allow += added
			case "deny":
				m.deny += added
			default:
				m.unavailable += added
			}
		}
		w.minutes = append(w.minutes, m)
	}
	return w
}
