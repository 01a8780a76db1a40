package extauthz

import (
	"context"
	"time"
)

// keySetObservers tells metrics and traces what the key set does.
type keySetObservers struct {
	metrics *metrics
	tracing *tracing
}

// Fetched implements [keySetObserver].
func (o keySetObservers) Fetched(result string, took time.Duration) {
	o.metrics.countFetch(result, took)
}

// Now implements [keySetObserver].
func (o keySetObservers) Now() time.Time { return o.tracing.now() }

// Waited implements [keySetObserver].
func (o keySetObservers) Waited(ctx context.Context, began, ended time.Time, url string, err error) {
	o.tracing.fetched(ctx, began, ended, url, err)
}

// storeObservers tells metrics and traces what the store of sessions does.
type storeObservers struct {
	metrics *metrics
	tracing *tracing
}

// Asked implements [storeObserver].
func (o storeObservers) Asked(batch int, took time.Duration, err error) {
	o.metrics.countQuery(batch, took, err)
}

// Unconnected implements [storeObserver].
func (o storeObservers) Unconnected() { o.metrics.connectionFailures.Inc() }

// Now implements [storeObserver].
func (o storeObservers) Now() time.Time { return o.tracing.now() }

// Waited implements [storeObserver].
func (o storeObservers) Waited(ctx context.Context, began, ended time.Time, batch int, err error) {
	o.tracing.queried(ctx, began, ended, batch, err)
}
