package extauthz

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// Where a panic was recovered; the values of the label where.
const (
	panicInCheck    = "check"
	panicInLog      = "log"
	panicInAudit    = "audit"
	panicInTrace    = "trace"
	panicInJWKS     = "jwks"
	panicInDatabase = "database"
)

var panicPlaces = []string{panicInCheck, panicInLog, panicInAudit, panicInTrace, panicInJWKS, panicInDatabase}

// restartPause is the time between a panic in background work and its next attempt.
const restartPause = time.Second

// supervise runs background work until ctx ends. Work that panics is logged, counted and begun anew after a pause, so
// that a fault in it neither ends the process nor leaves the part without anybody who works for it.
func supervise(ctx context.Context, log *slog.Logger, metrics *metrics, where string, work func(context.Context)) {
	for {
		if !recovered(log, metrics, where, func() { work(ctx) }) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartPause):
		}
	}
}

// recovered runs work and tells whether it panicked. The panic is counted first and logged then.
func recovered(log *slog.Logger, metrics *metrics, where string, work func()) (panicked bool) {
	defer func() {
		if fault := recover(); fault != nil {
			panicked = true
			reportPanic(log, metrics, where, fault)
		}
	}()
	work()
	return false
}

// reportPanic counts a panic that was recovered, and logs it: one in each place and interval, since under load one
// comes with each check. It is to be called where the stack still shows its cause.
func reportPanic(log *slog.Logger, metrics *metrics, where string, fault any) {
	metrics.panics.WithLabelValues(where).Inc()
	leftOut, isTold := int64(0), true
	if lines := metrics.panicLines[where]; lines != nil {
		leftOut, isTold = lines.pass()
	}
	if isTold {
		defer func() { _ = recover() }() // of the log, which may be what panics
		log.Error("panic", "where", where, "panic", fmt.Sprint(fault), "left_out", leftOut, "stack", string(debug.Stack()))
	}
}
