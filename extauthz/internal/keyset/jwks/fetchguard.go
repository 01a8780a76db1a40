package jwks

import (
	"context"
	"errors"
	"time"

	"extauthz/extauthz/internal/guard"
)

// ErrPanicked is told to those who wait for a fetch that panicked; the log has the panic itself.
var ErrPanicked = errors.New("a panic while fetching, see the log")

// errStuck is a fetch that goes on past its deadline, by a client that does not look at its request's context.
var errStuck = errors.New("the HTTP client is past its deadline and has not come back")

// GuardTime is what a fetch may take beyond its deadline until it is left to itself.
const GuardTime = time.Second

// Guard runs fetches so that whatever an embedder's HTTP client does is no more than a failed fetch: it may panic,
// end its goroutine or never return. One that has not returned keeps others from beginning, so that no more than one is
// ever left behind. It is used by one goroutine alone.
type Guard struct {
	left <-chan struct{} // closed when the fetch that was left behind has returned; nil while there is none
}

// Get fetches once. fault is what it panicked with, and stack where; fault is nil when it did not.
func (g *Guard) Get(ctx context.Context, f *Fetcher) (got Fetched, fault any, stack []byte) {
	stuck := Fetched{Result: ResultUnreachable, Err: &Error{Cause: errStuck}}
	select {
	case <-g.left:
		g.left = nil
	default:
		if g.left != nil {
			return stuck, nil, nil
		}
	}
	ended := make(chan struct{})
	got, fault = Fetched{Result: ResultPanic, Err: ErrPanicked}, any("the HTTP client ended its goroutine")
	result, trappedBy, where := got, fault, stack // the goroutine's own until it has ended
	go func() {
		defer close(ended)
		whole := Fetched{}
		trappedBy, where = guard.Trapped(func() { whole = f.Get(ctx) })
		if trappedBy == nil {
			result = whole
		}
	}()
	timer := time.NewTimer(Timeout + GuardTime)
	defer timer.Stop()
	select {
	case <-ended:
		return result, trappedBy, where
	case <-timer.C:
		g.left = ended
		return stuck, nil, nil
	}
}
