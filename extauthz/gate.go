package extauthz

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/reason"
)

// maxQueue bounds how long a check may have to wait for its turn at a signature. Where it would be longer, it is
// answered with 503 at once: a flood of tokens that were never seen is shed early, and those that
// are remembered, which need no turn, go before it.
const maxQueue = timeBudget / 4

// gate lets as many signatures be verified at once as there are processors. The bound on those that wait follows from
// how long a verification takes here and now. Safe for concurrent use.
type gate struct {
	turns   chan struct{}
	waiting atomic.Int64
	usual   atomic.Int64 // how long a verification takes, in nanoseconds, smoothed
}

func newGate() *gate { return &gate{turns: make(chan struct{}, runtime.GOMAXPROCS(0))} }

// pass runs verify when it is its turn. The error is a *Denial with status 503.
func (g *gate) pass(ctx context.Context, verify func() bool) (fits bool, err error) {
	select {
	case g.turns <- struct{}{}:
	default:
		if err := g.wait(ctx); err != nil {
			return false, err
		}
	}
	started := time.Now()
	defer func() {
		if !dryrun.Is(ctx) {
			g.usual.Store((15*g.usual.Load() + int64(time.Since(started))) / 16)
		}
		<-g.turns
	}()
	return verify(), nil
}

func (g *gate) wait(ctx context.Context) error {
	ahead := g.waiting.Add(1)
	defer g.waiting.Add(-1)
	if time.Duration(ahead*g.usual.Load()/int64(cap(g.turns))) > maxQueue {
		return reason.Unavailable(ReasonOverloaded, errors.New("too many checks wait for a signature to be verified")).At(StepSignature)
	}
	select {
	case g.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return reason.GivenUp(ctx, "a signature to be verified").At(StepSignature)
	}
}
