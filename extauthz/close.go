package extauthz

import (
	"context"
	"sync"
	"sync/atomic"
)

// life is how far an Authorizer has come: made, run, closed.
type life struct {
	closed atomic.Bool
	ctx    context.Context // ends when it is closed
	end    context.CancelFunc

	mu      sync.Mutex // guards ran, and that no work begins once it is closed
	ran     bool
	running sync.WaitGroup
	closing sync.Once
}

func newLife() *life {
	l := new(life)
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// begin tells whether background work may begin; then done is to be called at its end.
func (l *life) begin() (done func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ran || l.closed.Load() {
		return nil, false
	}
	l.ran = true
	l.running.Add(1)
	return l.running.Done, true
}

// Close ends an Authorizer, be it run or not: it ends [Authorizer.Run] and waits for that, closes the connections to
// Redis and PostgreSQL and takes its metrics from the registry, where another Authorizer may have them then. Checks that
// come afterwards are answered with 503. It may be called again, and by several at once.
func (a *Authorizer) Close() {
	a.life.closing.Do(func() {
		a.life.mu.Lock()
		a.life.closed.Store(true)
		a.life.mu.Unlock()
		a.life.end()
		a.life.running.Wait()
		a.issuers.close()
		a.registration.Withdraw()
	})
}
