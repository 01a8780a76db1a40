package extauthz

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// This file keeps the embedder's observers, which are the Logger, Config.Audit and the TracerProvider, from ending the
// process: one that panics is counted and logged. A line or a span that is lost changes no answer. An audit record
// that is lost does: nobody passes without the record that was asked for.

// contain is deferred around a call of an observer.
func (a *Authorizer) contain(where string) {
	if fault := recover(); fault != nil {
		reportPanic(a.log, a.metrics, where, fault)
	}
}

// recordAudit hands the decision to Config.Audit. An allow becomes a refusal where that panics.
func (a *Authorizer) recordAudit(r *request.Request, d *decision, took time.Duration) {
	if a.audit.record == nil {
		return
	}
	defer func() {
		if fault := recover(); fault != nil {
			reportPanic(a.log, a.metrics, panicInAudit, fault)
			if d.denial == nil {
				d.denial = reason.Unavailable(ReasonInternalError, errors.New("the audit function panicked"))
			}
		}
	}()
	a.audit.write(r, d, took, a.shadow)
}

// containedHandler is a log's handler that never panics. Such a panic is counted, and told by the standard library's
// own log, since the handler would panic again.
type containedHandler struct {
	slog.Handler
	metrics *metrics
}

func containedLogger(log *slog.Logger, metrics *metrics) *slog.Logger {
	return slog.New(containedHandler{log.Handler(), metrics})
}

func (h containedHandler) contain() {
	if fault := recover(); fault != nil {
		h.metrics.panics.WithLabelValues(panicInLog).Inc()
		if lines := h.metrics.panicLines[panicInLog]; lines != nil {
			if leftOut, isTold := lines.pass(); isTold {
				tellApart(fmt.Sprintf("extauthz: the Logger panics: %v; left out: %d\n%s", fault, leftOut, debug.Stack()))
			}
		}
	}
}

// Enabled implements [slog.Handler].
func (h containedHandler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer h.contain()
	return h.Handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h containedHandler) Handle(ctx context.Context, record slog.Record) error {
	defer h.contain()
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements [slog.Handler].
func (h containedHandler) WithAttrs(attributes []slog.Attr) (with slog.Handler) {
	with = h
	defer h.contain()
	if made := h.Handler.WithAttrs(attributes); made != nil {
		with = containedHandler{made, h.metrics}
	}
	return with
}

// WithGroup implements [slog.Handler].
func (h containedHandler) WithGroup(name string) (with slog.Handler) {
	with = h
	defer h.contain()
	if made := h.Handler.WithGroup(name); made != nil {
		with = containedHandler{made, h.metrics}
	}
	return with
}

var isTelling atomic.Bool

// tellApart writes to the standard library's log, which may block and may be the very handler that panics: beside the
// check, and one at a time.
func tellApart(message string) {
	if isTelling.Swap(true) {
		return
	}
	go func() {
		defer isTelling.Store(false)
		defer func() { _ = recover() }() // counted already
		stdlog.Print(message)
	}()
}
