package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// redisVectors count what is asked of Redis for each issuer.
type redisVectors struct {
	trips, failures *prometheus.CounterVec
	duration, size  *prometheus.HistogramVec
}

// redisCounts are those of one issuer.
type redisCounts struct {
	trips          map[string]prometheus.Counter // by result
	failures       prometheus.Counter
	duration, size prometheus.Observer
}

func (v *redisVectors) of(issuer string) redisCounts {
	counts := redisCounts{
		trips: map[string]prometheus.Counter{}, failures: v.failures.WithLabelValues(issuer),
		duration: v.duration.WithLabelValues(issuer), size: v.size.WithLabelValues(issuer),
	}
	for _, result := range []string{ResultOK, ResultError} {
		counts.trips[result] = v.trips.WithLabelValues(issuer, result)
	}
	return counts
}

// forget ends the series of an issuer.
func (v *redisVectors) forget(of prometheus.Labels) {
	v.trips.DeletePartialMatch(of)
	v.failures.DeletePartialMatch(of)
	v.duration.DeletePartialMatch(of)
	v.size.DeletePartialMatch(of)
}

// countRoundTrip counts a round trip for so many questions.
func (i *Issuer) countRoundTrip(batch int, took time.Duration, err error) {
	i.redis.size.Observe(float64(batch))
	if err != nil {
		i.redis.trips[ResultError].Inc()
		return
	}
	i.redis.trips[ResultOK].Inc()
	i.redis.duration.Observe(took.Seconds())
}
