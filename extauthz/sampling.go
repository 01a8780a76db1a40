package extauthz

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Bounds of the log, for each reason by itself, so that a flood of one hides no other. Metrics and the audit log have
// every decision.
const (
	deniedLines  = 10   // a second
	deniedBurst  = 100  // before that
	allowedLines = 100  // a second, at debug
	allowedBurst = 1000 // before that
	// panicLinesInterval is the time between two lines of panics in one place.
	panicLinesInterval = 10 * time.Second
	// leftOutInterval is how often the log tells what was left out since no line came that could have told it.
	leftOutInterval = 10 * time.Second
)

// sampler lets lines pass at a steady rate after a burst, and counts the others (the generic cell rate algorithm).
// Safe for concurrent use, without a lock.
type sampler struct {
	interval time.Duration // between two lines
	ahead    time.Duration // how far due may be ahead of now
	start    time.Time
	due      atomic.Int64 // when the lines that passed are worked off, in nanoseconds since start
	left     atomic.Int64 // out since the last line
}

func newSampler(interval time.Duration, burst int) *sampler {
	return &sampler{interval: interval, ahead: interval * time.Duration(burst), start: time.Now()}
}

// pass tells whether a line may be written now, and then how many were left out before it.
func (s *sampler) pass() (leftOut int64, ok bool) {
	now := int64(time.Since(s.start))
	for {
		due := s.due.Load()
		next := max(due, now) + int64(s.interval)
		if next-now > int64(s.ahead) {
			s.left.Add(1)
			return 0, false
		}
		if s.due.CompareAndSwap(due, next) {
			return s.left.Swap(0), true
		}
	}
}

// rest returns how many were left out of which no line has told, once the flood is over.
func (s *sampler) rest() int64 {
	if s.left.Load() == 0 || s.due.Load()-int64(time.Since(s.start)) > int64(s.ahead-s.interval) {
		return 0
	}
	return s.left.Swap(0)
}

// sampling has a sampler for each kind of line. It is never changed once it is made.
type sampling struct {
	allowed *sampler
	denied  map[Reason]*sampler
}

func newSampling() *sampling {
	s := &sampling{newSampler(time.Second/allowedLines, allowedBurst), make(map[Reason]*sampler, len(Facts()))}
	for _, fact := range Facts() {
		s.denied[fact.Reason] = newSampler(time.Second/deniedLines, deniedBurst)
	}
	return s
}

// of returns the sampler for a decision.
func (s *sampling) of(d *decision) *sampler {
	if d.denial == nil {
		return s.allowed
	}
	return s.denied[d.denial.Reason]
}

// tellLeftOut logs what was left out of the log at the end of a flood, until ctx ends.
func (a *Authorizer) tellLeftOut(ctx context.Context) {
	facts := Facts()
	ticker := time.NewTicker(leftOutInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if count := a.sampling.allowed.rest(); count > 0 {
			a.log.Debug("allowed: lines were left out of this log", "left_out", count)
		}
		for i := range facts {
			if count := a.sampling.denied[facts[i].Reason].rest(); count > 0 {
				a.log.Log(ctx, levelOf(&facts[i]), messageOf(&facts[i])+": lines were left out of this log",
					slog.String("reason", string(facts[i].Reason)), slog.Int64("left_out", count))
			}
		}
	}
}
