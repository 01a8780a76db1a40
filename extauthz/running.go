package extauthz

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/issuers"
	"extauthz/extauthz/operator"
)

// worker is the background work of a part: begun when the Authorizer runs, ended when no issuer has the part any more.
type worker struct {
	where string
	run   func(context.Context)
	part  any    // that it works for
	close func() // called at its end
	end   context.CancelFunc
}

// runningIssuers are the issuers in force, and the background work of their parts. Safe for concurrent use.
type runningIssuers struct {
	panics *guard.Panics
	list   atomic.Pointer[[]*instance] // never changed, only replaced, by who holds mu

	secrets sync.Mutex // serializes changes of the secrets alone; it comes before mu

	mu     sync.Mutex // serializes changes of the issuers, and guards what follows
	ctx    context.Context
	closed bool
	work   sync.WaitGroup
	over   chan struct{} // closed at the end
}

func newRunningIssuers(panics *guard.Panics) *runningIssuers {
	r := &runningIssuers{panics: panics, over: make(chan struct{})}
	r.list.Store(new([]*instance))
	return r
}

// all are the issuers in force.
func (r *runningIssuers) all() []*instance { return *r.list.Load() }

// operated are the parts of the issuers in force, for [Authorizer.Operator].
func (r *runningIssuers) operated() (parts []operator.Parts) {
	for _, i := range r.all() {
		parts = append(parts, operator.Parts{Issuer: i.metrics.As.Called(), Checks: i.issuer, Keys: i.keys,
			Redis: i.redis, Database: i.database})
	}
	return parts
}

// run does the background work of all issuers until ctx ends.
func (r *runningIssuers) run(ctx context.Context) {
	r.mu.Lock()
	r.ctx = ctx
	for _, i := range r.all() {
		r.begin(i.work)
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.ctx = nil
	r.mu.Unlock()
	r.work.Wait()
}

// begin has work done that is not done yet, once the Authorizer runs. r.mu is held.
func (r *runningIssuers) begin(work []*worker) {
	for _, w := range work {
		if r.ctx == nil || w.end != nil {
			continue
		}
		ctx, end := context.WithCancel(r.ctx)
		w.end = end
		r.work.Go(func() { r.panics.Supervise(ctx, w.where, w.run) })
	}
}

// replace puts issuers in force and ends the work of parts that none of them has, once the checks that began before are
// over. r.mu is held.
func (r *runningIssuers) replace(fresh []*instance, grace time.Duration) {
	var left []*worker
	for _, earlier := range r.all() {
		for _, w := range earlier.work {
			if !slices.ContainsFunc(fresh, func(i *instance) bool { return slices.Contains(i.work, w) }) {
				left = append(left, w)
			}
		}
	}
	r.list.Store(&fresh)
	for _, i := range fresh {
		r.begin(i.work)
	}
	if len(left) == 0 {
		return
	}
	go func() {
		select {
		case <-time.After(grace):
		case <-r.over:
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, w := range left {
			w.stop()
		}
	}()
}

func (w *worker) stop() {
	if w.end != nil {
		w.end()
	}
	if w.close != nil {
		w.close()
	}
}

// close ends everything; checks that wait are answered at once.
func (r *runningIssuers) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	close(r.over)
	for _, i := range r.all() {
		for _, w := range i.work {
			w.stop()
		}
	}
}

// SetIssuers puts other issuers in force than those of [Config.Several], as a whole, from the next check on. One that
// has changed keeps what has not: its keys, its connections, what is remembered of its tokens. A new one's checks are
// answered with 503 until its parts have answered. No check of an issuer that has not changed fails by it. The error is
// a *[ConfigError], and nothing has changed then; it is another one once the Authorizer is closed.
func (a *Authorizer) SetIssuers(issuers []IssuerConfig) error {
	if !a.made.isNamed {
		return &ConfigError{Field: "Several", Fault: "was empty at the start; make another Authorizer for several issuers"}
	}
	return a.setIssuers(issuers)
}

// setIssuers is SetIssuers, also for the one that the fields of Config make.
func (a *Authorizer) setIssuers(configs []IssuerConfig) error {
	r := a.issuers
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the Authorizer is closed")
	}
	var (
		earlier = make(map[string]*instance)
		fresh   = make([]*instance, len(configs))
		list    = make([]*issuer.Issuer, len(configs))
	)
	for _, i := range r.all() {
		earlier[i.config.Name] = i
	}
	facts, further, err := a.readFacts(configs)
	if err != nil {
		return err
	}
	for n := range configs {
		made, err := a.newInstance(configs[n].clone(), earlier[configs[n].Name], len(configs) > 1, facts[n], further)
		if err != nil {
			a.forgetAllBut(earlier, configs[:n+1])
			if fault, ok := errors.AsType[*ConfigError](err); ok && a.made.isNamed {
				fault.Issuer = configs[n].Name
			}
			return err
		}
		fresh[n], list[n] = made, made.issuer
	}
	if err := checkNames(fresh); err != nil {
		a.forgetAllBut(earlier, configs)
		return err
	}
	for _, i := range fresh {
		i.follow()
	}
	inForce := issuers.NewSet(list, a.memory)
	inForce.Further = further
	a.decider.Issuers.Store(inForce)
	r.replace(fresh, 2*a.made.budget)
	for _, i := range fresh {
		delete(earlier, i.config.Name)
	}
	for name := range earlier {
		a.metrics.Forget(name)
	}
	return nil
}

// forgetAllBut ends the series of those that did not come in force.
func (a *Authorizer) forgetAllBut(inForce map[string]*instance, tried []IssuerConfig) {
	for _, config := range tried {
		if inForce[config.Name] == nil {
			a.metrics.Forget(config.Name)
		}
	}
}

// replaceSecrets puts in force what change makes of the secrets of the issuer that the fields of Config make.
func (a *Authorizer) replaceSecrets(change func(Secrets) Secrets) {
	if a.made.isNamed {
		a.log.Error("the secrets of several issuers are replaced by SetIssuers; nothing is changed")
		return
	}
	a.issuers.secrets.Lock() // what change leaves as it is must not come from before another change
	defer a.issuers.secrets.Unlock()
	config := a.issuers.all()[0].config
	config.setSecrets(change(config.secrets()))
	if err := a.setIssuers([]IssuerConfig{config}); err != nil {
		a.log.Error("the secrets cannot be replaced; the earlier ones stay in force", "error", err)
	}
}
