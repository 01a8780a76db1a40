// Package guard keeps a panic from ending the process: it is counted, and logged now and then. It imports sampler. It
// does not know what is guarded.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"extauthz/extauthz/internal/sampler"
)

// Where a panic was recovered; the values of the label where.
const (
	InCheck    = "check"
	InLog      = "log"
	InAudit    = "audit"
	InTrace    = "trace"
	InJWKS     = "jwks"
	InDatabase = "database"
	InRedis    = "redis"
)

// Places are all of them.
func Places() []string {
	return []string{InCheck, InLog, InAudit, InTrace, InJWKS, InDatabase, InRedis}
}

const (
	// restartPause is the time between a panic in background work and its next attempt.
	restartPause = time.Second
	// linesInterval is the time between two lines of panics in one place.
	linesInterval = 10 * time.Second
)

// Panics counts panics and logs them. Safe for concurrent use.
type Panics struct {
	log   *slog.Logger
	count func(where string)
	lines map[string]*sampler.Sampler // by where; never changed
}

// New returns one that calls count for each panic, and logs by log.
func New(log *slog.Logger, count func(where string)) *Panics {
	p := &Panics{count: count, lines: make(map[string]*sampler.Sampler)}
	for _, place := range Places() {
		p.lines[place] = sampler.New(linesInterval, 1)
	}
	p.log = slog.New(containedHandler{log.Handler(), p})
	return p
}

// Logger is the log, whose handler never panics: such a panic is counted, and told by the standard library's own log.
func (p *Panics) Logger() *slog.Logger { return p.log }

// With is the same for one of several, whose lines of the log say which by these attributes.
func (p *Panics) With(attributes ...any) *Panics {
	return &Panics{log: p.log.With(attributes...), count: p.count, lines: p.lines}
}

// Count counts a panic that is logged elsewhere.
func (p *Panics) Count(where string) { p.count(where) }

// Supervise runs background work until ctx ends. Work that panics is logged, counted and begun anew after a pause, so
// that a fault in it neither ends the process nor leaves the part without anybody who works for it.
func (p *Panics) Supervise(ctx context.Context, where string, work func(context.Context)) {
	for {
		if !p.Recovered(where, func() { work(ctx) }) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartPause):
		}
	}
}

// Recovered runs work and tells whether it panicked. The panic is counted first and logged then.
func (p *Panics) Recovered(where string, work func()) (panicked bool) {
	defer func() {
		if fault := recover(); fault != nil {
			panicked = true
			p.Report(where, fault)
		}
	}()
	work()
	return false
}

// Report counts a panic that was recovered, and logs it: one in each place and interval, since under load one
// comes with each check. It is to be called where the stack still shows its cause.
func (p *Panics) Report(where string, fault any) {
	p.count(where)
	if leftOut, isTold := p.lines[where].Pass(); isTold {
		defer func() { _ = recover() }() // of the log, which may be what panics
		p.log.Error("panic", "where", where, "panic", fmt.Sprint(fault), "left_out", leftOut, "stack", string(debug.Stack()))
	}
}

// Trapped runs work and returns what it panicked with, and where; nil when it did not.
func Trapped(work func()) (fault any, stack []byte) {
	defer func() {
		if fault = recover(); fault != nil {
			stack = debug.Stack()
		}
	}()
	work()
	return nil, nil
}
