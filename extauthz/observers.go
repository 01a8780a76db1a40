package extauthz

import (
	"context"
	"errors"
	"time"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// This file keeps the embedder's observers, which are the Logger, Config.Audit and the TracerProvider, from ending the
// process: one that panics is counted and logged. A line or a span that is lost changes no answer. An audit record
// that is lost does: nobody passes without the record that was asked for.

// contain is deferred around a call of an observer.
func (a *Authorizer) contain(where string) {
	if fault := recover(); fault != nil {
		a.panics.Report(where, fault)
	}
}

// recordAudit hands the decision to Config.Audit. An allow becomes a refusal where that panics.
func (a *Authorizer) recordAudit(r *request.Request, d *decision.Decision, took time.Duration) {
	if a.audit.record == nil {
		return
	}
	defer func() {
		if fault := recover(); fault != nil {
			a.panics.Report(guard.InAudit, fault)
			if d.Denial == nil {
				d.Denial = reason.Unavailable(ReasonInternalError, errors.New("the audit function panicked"))
			}
		}
	}()
	a.audit.write(r, d, took, a.shadow)
}

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
