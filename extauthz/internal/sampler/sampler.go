// Package sampler bounds how many lines of one kind a log gets, and counts those that were left out. It imports nothing
// of this module, and writes nothing.
package sampler

import (
	"sync/atomic"
	"time"
)

// Sampler lets lines pass at a steady rate after a burst, and counts the others (the generic cell rate algorithm).
// Safe for concurrent use, without a lock.
type Sampler struct {
	interval time.Duration // between two lines
	ahead    time.Duration // how far due may be ahead of now
	start    time.Time
	due      atomic.Int64 // when the lines that passed are worked off, in nanoseconds since start
	left     atomic.Int64 // out since the last line
}

// New returns a sampler for a line each interval, and so many at once before.
func New(interval time.Duration, burst int) *Sampler {
	return &Sampler{interval: interval, ahead: interval * time.Duration(burst), start: time.Now()}
}

// Pass tells whether a line may be written now, and then how many were left out before it.
func (s *Sampler) Pass() (leftOut int64, ok bool) {
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

// Rest returns how many were left out of which no line has told, once the flood is over.
func (s *Sampler) Rest() int64 {
	if s.left.Load() == 0 || s.due.Load()-int64(time.Since(s.start)) > int64(s.ahead-s.interval) {
		return 0
	}
	return s.left.Swap(0)
}
