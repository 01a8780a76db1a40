package keyset

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/show"
)

const (
	MaxKeyLines   = 20              // lines on keys a minute; one that changes with each fetch must not fill the log
	MaxQueuedLine = 64              // lines that wait for a Logger that is slow
	LogEnd        = 1 * time.Second // how long the last of them may take
)

// keyLog logs what becomes of the key set. Its methods are for the goroutine that fetches and never wait: lines go
// through a queue to a goroutine of its own, since a Logger may block. What is left out is counted, and told with the
// next line.
type keyLog struct {
	log    *slog.Logger
	url    string
	panics *guard.Panics
	queue  chan logLine

	wasFailed bool      // whether the last fetch failed
	cause     string    // of the failure that was logged last
	causeAt   time.Time // and when
	minute    time.Time // when the count of lines began
	lines     int       // on keys since then
	leftOut   int
}

// logLine is one record, made before it is queued.
type logLine struct {
	level      slog.Level
	message    string
	attributes []any
}

func newKeyLog(url string, panics *guard.Panics) *keyLog {
	return &keyLog{log: panics.Logger(), url: url, panics: panics, queue: make(chan logLine, MaxQueuedLine)}
}

// start writes what is queued until stop is called, which waits for the rest, and no longer than logEnd.
func (l *keyLog) start() (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case line := <-l.queue:
				l.write(line)
			case <-quit:
				for {
					select {
					case line := <-l.queue:
						l.write(line)
					default:
						return
					}
				}
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		timer := time.NewTimer(LogEnd)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C: // the Logger blocks; its goroutine ends when that does
		}
	})
}

func (l *keyLog) write(line logLine) {
	l.log.Log(context.Background(), line.level, line.message, line.attributes...)
}

// add queues a line, or counts it as left out.
func (l *keyLog) add(level slog.Level, message string, attributes ...any) {
	if l.leftOut > 0 {
		attributes = append(attributes, "lines_left_out", l.leftOut)
	}
	select {
	case l.queue <- logLine{level, message, attributes}:
		l.leftOut = 0
	default:
		l.leftOut++
	}
}

// addBounded is add for lines that the issuer's answers bring about.
func (l *keyLog) addBounded(level slog.Level, message string, attributes ...any) {
	now := time.Now()
	if now.Sub(l.minute) >= time.Minute {
		l.minute, l.lines = now, 0
	}
	if l.lines++; l.lines > MaxKeyLines {
		l.leftOut++
		return
	}
	l.add(level, message, attributes...)
}

// failed logs that a fetch failed: the first one, and where the cause is another one, once a minute.
func (l *keyLog) failed(got *jwks.Fetched) {
	first := !l.wasFailed
	l.wasFailed = true
	cause, now := got.Err.Error(), time.Now()
	if !first && (cause == l.cause || now.Sub(l.causeAt) < time.Minute) {
		return
	}
	l.cause, l.causeAt = cause, now
	l.add(slog.LevelWarn, "JWKS fetch failed; trying again", "url", l.url, "error", cause)
}

// panicked logs a panic.
func (l *keyLog) panicked(fault any, stack []byte) {
	l.wasFailed = true
	l.addBounded(slog.LevelError, "panic", "where", guard.InJWKS, "panic", fmt.Sprint(fault), "stack", string(stack))
}

// replaced logs once what a new key set brings.
func (l *keyLog) replaced(earlier, set *Snapshot) {
	var known Snapshot
	if earlier != nil {
		known = *earlier
	}
	changed := earlier == nil || len(known.Keys) != len(set.Keys) || l.wasFailed
	l.wasFailed = false
	for _, id := range slices.Sorted(maps.Keys(set.Keys)) {
		key, before := set.Keys[id], known.Keys[id]
		changed = changed || key != before
		switch {
		case key == before:
		case before != nil && before.Fault == "":
			l.addBounded(slog.LevelWarn, "JWKS key replaced under its kid; tokens by the earlier key are refused",
				"kid", show.Clip(id), "from", before.Describe(), "to", key.Describe())
		case key.Fault != "":
			l.addBounded(slog.LevelWarn, "JWKS key ignored", "kid", show.Clip(id), "fault", key.Fault)
		}
	}
	aside := earlier.asideByName()
	for _, entry := range set.aside {
		if aside[nameOf(entry)] == nil {
			l.addBounded(slog.LevelWarn, "JWKS entry ignored", "kid", show.Clip(entry.ID), "fault", entry.Fault)
		}
	}
	switch {
	case len(set.Keys) == 0 && len(known.Keys) > 0:
		l.addBounded(slog.LevelWarn, "JWKS lists no key any more; all its tokens are refused",
			"url", l.url, "earlier", len(known.Keys))
	case changed:
		l.addBounded(slog.LevelInfo, "JWKS fetched", "url", l.url, "keys", len(set.Keys))
	}
}
