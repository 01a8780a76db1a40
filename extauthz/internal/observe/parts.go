package observe

import (
	"context"
	"time"
)

// KeySet tells metrics and traces what the key set does.
type KeySet struct {
	Metrics *Issuer
	Tracing *Tracing
}

// Fetched implements [keyset.Observer].
func (o KeySet) Fetched(result string, took time.Duration) {
	o.Metrics.countFetch(result, took)
}

// Now implements [keyset.Observer].
func (o KeySet) Now() time.Time { return o.Tracing.Now() }

// Waited implements [keyset.Observer].
func (o KeySet) Waited(ctx context.Context, began, ended time.Time, url string, err error) {
	o.Tracing.Fetched(ctx, began, ended, url, err)
}

// Redis tells metrics and traces what the store in Redis does.
type Redis struct {
	Metrics *Issuer
	Tracing *Tracing
}

// Asked implements [redis.Observer].
func (o Redis) Asked(batch int, took time.Duration, err error) {
	o.Metrics.countRoundTrip(batch, took, err)
}

// Unconnected implements [redis.Observer].
func (o Redis) Unconnected() { o.Metrics.redis.failures.Inc() }

// Now implements [redis.Observer].
func (o Redis) Now() time.Time { return o.Tracing.Now() }

// Waited implements [redis.Observer].
func (o Redis) Waited(ctx context.Context, began, ended time.Time, batch int, err error) {
	o.Tracing.AskedRedis(ctx, began, ended, batch, err)
}

// Store tells metrics and traces what the store of sessions does.
type Store struct {
	Metrics *Issuer
	Tracing *Tracing
}

// Asked implements [postgres.Observer].
func (o Store) Asked(batch int, took time.Duration, err error) {
	o.Metrics.CountQuery(batch, took, err)
}

// Unconnected implements [postgres.Observer].
func (o Store) Unconnected() { o.Metrics.ConnectionFailures.Inc() }

// Now implements [postgres.Observer].
func (o Store) Now() time.Time { return o.Tracing.Now() }

// Waited implements [postgres.Observer].
func (o Store) Waited(ctx context.Context, began, ended time.Time, batch int, err error) {
	o.Tracing.Queried(ctx, began, ended, batch, err)
}
