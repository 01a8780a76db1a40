package extauthz

import (
	"context"
	"log/slog"
	"time"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/sampler"
)

// Bounds of the log, for each reason by itself, so that a flood of one hides no other. Metrics and the audit log have
// every decision.
const (
	deniedLines  = 10   // a second
	deniedBurst  = 100  // before that
	allowedLines = 100  // a second, at debug
	allowedBurst = 1000 // before that
	// leftOutInterval is how often the log tells what was left out since no line came that could have told it.
	leftOutInterval = 10 * time.Second
)

// sampling has a sampler for each kind of line. It is never changed once it is made.
type sampling struct {
	allowed *sampler.Sampler
	denied  map[Reason]*sampler.Sampler
}

func newSampling() *sampling {
	s := &sampling{sampler.New(time.Second/allowedLines, allowedBurst), make(map[Reason]*sampler.Sampler, len(Facts()))}
	for _, fact := range Facts() {
		s.denied[fact.Reason] = sampler.New(time.Second/deniedLines, deniedBurst)
	}
	return s
}

// of returns the sampler for a decision.
func (s *sampling) of(d *decision.Decision) *sampler.Sampler {
	if d.Denial == nil {
		return s.allowed
	}
	return s.denied[d.Denial.Reason]
}

// tellLeftOut logs what was left out of the log at the end of a flood, until ctx ends.
func (l *decisionLog) tellLeftOut(ctx context.Context) {
	facts := Facts()
	ticker := time.NewTicker(leftOutInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if count := l.sampling.allowed.Rest(); count > 0 {
			l.log.Debug("allowed: lines were left out of this log", "left_out", count)
		}
		for i := range facts {
			if count := l.sampling.denied[facts[i].Reason].Rest(); count > 0 {
				l.log.Log(ctx, levelOf(&facts[i]), messageOf(&facts[i])+": lines were left out of this log",
					slog.String("reason", string(facts[i].Reason)), slog.Int64("left_out", count))
			}
		}
	}
}
