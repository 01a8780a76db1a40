package observe

import (
	"context"
	"log/slog"
	"time"

	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/sampler"
)

// Bounds of the log, for each reason by itself, so that a flood of one hides no other. Metrics and the audit log have
// every decision.
const (
	DeniedLines  = 10   // a second
	DeniedBurst  = 100  // before that
	allowedLines = 100  // a second, at debug
	allowedBurst = 1000 // before that
	// LeftOutInterval is how often the log tells what was left out since no line came that could have told it.
	LeftOutInterval = 10 * time.Second
)

// sampling has a sampler for each kind of line. It is never changed once it is made.
type sampling struct {
	allowed *sampler.Sampler
	denied  map[reason.Reason]*sampler.Sampler
}

func newSampling() *sampling {
	s := &sampling{sampler.New(time.Second/allowedLines, allowedBurst),
		make(map[reason.Reason]*sampler.Sampler, len(reason.Facts()))}
	for _, fact := range reason.Facts() {
		s.denied[fact.Reason] = sampler.New(time.Second/DeniedLines, DeniedBurst)
	}
	return s
}

// of returns the sampler for a decision.
func (s *sampling) of(d *decision.Decision) *sampler.Sampler {
	if d.Denial == nil {
		return s.allowed
	}
	return s.denied[d.Denial.Reason()]
}

// TellLeftOut logs what was left out of the log at the end of a flood, until ctx ends.
func (l *Log) TellLeftOut(ctx context.Context) {
	facts := reason.Facts()
	ticker := time.NewTicker(LeftOutInterval)
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
