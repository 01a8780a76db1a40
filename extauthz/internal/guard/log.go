package guard

import (
	"context"
	"fmt"
	stdlog "log"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
)

// containedHandler is a log's handler that never panics. Such a panic is counted, and told by the standard library's
// own log, since the handler would panic again.
type containedHandler struct {
	slog.Handler
	panics *Panics
}

func (h containedHandler) contain() {
	if fault := recover(); fault != nil {
		h.panics.Count(InLog)
		if leftOut, isTold := h.panics.lines[InLog].Pass(); isTold {
			tellApart(fmt.Sprintf("extauthz: the Logger panics: %v; left out: %d\n%s", fault, leftOut, debug.Stack()))
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
		with = containedHandler{made, h.panics}
	}
	return with
}

// WithGroup implements [slog.Handler].
func (h containedHandler) WithGroup(name string) (with slog.Handler) {
	with = h
	defer h.contain()
	if made := h.Handler.WithGroup(name); made != nil {
		with = containedHandler{made, h.panics}
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
