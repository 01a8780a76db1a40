package extauthz

import (
	"context"
	"errors"
	"time"

	"extauthz/extauthz/internal/guard"
)

// errPanicked is told to those who wait for a fetch that panicked; the log has the panic itself.
var errPanicked = errors.New("a panic while fetching, see the log")

// errStuck is a fetch that goes on past its deadline, by a client that does not look at its request's context.
var errStuck = errors.New("the HTTP client is past its deadline and has not come back")

// guardTime is what a fetch may take beyond its deadline until it is left to itself.
const guardTime = time.Second

// fetchGuard runs fetches so that whatever an embedder's HTTP client does is no more than a failed fetch: it may panic,
// end its goroutine or never return. One that has not returned keeps others from beginning, so that no more than one is
// ever left behind. It is used by one goroutine alone.
type fetchGuard struct {
	left <-chan struct{} // closed when the fetch that was left behind has returned; nil while there is none
}

// get fetches once. fault is what it panicked with, and stack where; fault is nil when it did not.
func (g *fetchGuard) get(ctx context.Context, f *fetcher) (got fetched, fault any, stack []byte) {
	stuck := fetched{result: resultUnreachable, err: &fetchError{cause: errStuck}}
	select {
	case <-g.left:
		g.left = nil
	default:
		if g.left != nil {
			return stuck, nil, nil
		}
	}
	ended := make(chan struct{})
	got, fault = fetched{result: resultPanic, err: errPanicked}, any("the HTTP client ended its goroutine")
	result, trappedBy, where := got, fault, stack // the goroutine's own until it has ended
	go func() {
		defer close(ended)
		whole := fetched{}
		trappedBy, where = guard.Trapped(func() { whole = f.get(ctx) })
		if trappedBy == nil {
			result = whole
		}
	}()
	timer := time.NewTimer(fetchTimeout + guardTime)
	defer timer.Stop()
	select {
	case <-ended:
		return result, trappedBy, where
	case <-timer.C:
		g.left = ended
		return stuck, nil, nil
	}
}
