// Package gate bounds how many signatures are verified at once, and sheds what would have to wait for too long. It
// imports dryrun and reason. It does not know what a signature is of.
package gate

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/reason"
)

// MaxQueue bounds how long, of its 400 ms, a check may have to wait for its turn at a signature. Where it would be
// longer, it is answered with 503 at once: a flood of tokens that were never seen is shed early, and those that are
// remembered, which need no turn, go before it.
const MaxQueue = 100 * time.Millisecond

// Gate lets as many signatures be verified at once as there are processors. The bound on those that wait follows from
// how long a verification takes here and now. Safe for concurrent use.
type Gate struct {
	Turns   chan struct{}
	Waiting atomic.Int64
	Usual   atomic.Int64 // how long a verification takes, in nanoseconds, smoothed
}

// New has room for one verification on each processor.
func New() *Gate { return &Gate{Turns: make(chan struct{}, runtime.GOMAXPROCS(0))} }

// Pass runs verify when it is its turn. The error is a *Denial with status 503.
func (g *Gate) Pass(ctx context.Context, verify func() bool) (fits bool, err error) {
	select {
	case g.Turns <- struct{}{}:
	default:
		if err := g.wait(ctx); err != nil {
			return false, err
		}
	}
	started := time.Now()
	defer func() {
		if !dryrun.Is(ctx) {
			g.Usual.Store((15*g.Usual.Load() + int64(time.Since(started))) / 16)
		}
		<-g.Turns
	}()
	return verify(), nil
}

func (g *Gate) wait(ctx context.Context) error {
	ahead := g.Waiting.Add(1)
	defer g.Waiting.Add(-1)
	if time.Duration(ahead*g.Usual.Load()/int64(cap(g.Turns))) > MaxQueue {
		return reason.Unavailable(reason.Overloaded,
			errors.New("too many checks wait for a signature to be verified")).At(reason.StepSignature)
	}
	select {
	case g.Turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return reason.GivenUp(ctx, "a signature to be verified").At(reason.StepSignature)
	}
}
