package extauthz

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/gate"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/secret"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/site"
	"extauthz/extauthz/internal/verified"
	"extauthz/extauthz/operator"
)

// madeBy is what all issuers of an Authorizer are made with.
type madeBy struct {
	client *http.Client
	now    func() time.Time
	budget time.Duration
	refill time.Duration
	kinds  issuer.Chain // of credentials
	gate   *gate.Gate   // of the processors, which all issuers share
}

// instance is one issuer and the parts that work for it. It is never changed, only replaced; the parts of one that has
// not changed in them go on in its successor.
type instance struct {
	config   issuerConfig
	issuer   *issuer.Issuer
	keys     *keyset.Set
	database *postgres.Store // nil when not configured
	read     *databaseURL    // the database's
	work     []*worker
}

// databaseURL reads a database's connection string, by the function that the latest configuration has for it.
type databaseURL struct {
	by atomic.Pointer[func() (string, error)]
}

func (u *databaseURL) read() (string, error) { return (*u.by.Load())() }

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
		parts = append(parts, operator.Parts{Keys: i.keys, Database: i.database})
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

// setIssuers puts issuers in force as a whole, or none of them. The error is a *[ConfigError], unless the Authorizer is
// closed.
func (a *Authorizer) setIssuers(configs []issuerConfig) error {
	r := a.issuers
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the Authorizer is closed")
	}
	var (
		earlier = r.all()
		fresh   = make([]*instance, len(configs))
		list    = make([]*issuer.Issuer, len(configs))
	)
	facts, further, err := a.readFacts(configs)
	if err != nil {
		return err
	}
	for n, config := range configs {
		var before *instance
		if n < len(earlier) {
			before = earlier[n]
		}
		made, err := a.newInstance(config, before, facts[n], further)
		if err != nil {
			return err
		}
		fresh[n], list[n] = made, made.issuer
	}
	inForce := issuer.NewSet(list, a.memory)
	inForce.Further = further
	a.decider.Issuers.Store(inForce)
	r.replace(fresh, 2*a.made.budget)
	return nil
}

// replaceSecrets puts in force what change makes of the secrets.
func (a *Authorizer) replaceSecrets(change func(Secrets) Secrets) {
	configs := []issuerConfig{}
	for _, i := range a.issuers.all() {
		config := i.config
		config.setSecrets(change(config.secrets()))
		configs = append(configs, config.clone())
	}
	if err := a.setIssuers(configs); err != nil {
		a.log.Error("the secrets cannot be replaced; the earlier ones stay in force", "error", err)
	}
}

// newInstance makes an issuer, with those parts of the one before, which may be nil, that are as they were. The error is a
// *[ConfigError].
func (a *Authorizer) newInstance(
	config issuerConfig, before *instance, facts *identity.Table, further []string,
) (*instance, error) {
	names, err := readIssuer(&config)
	if err != nil {
		return nil, err
	}
	config.JWKSURL = names.jwksURL
	var proxy *url.URL
	if config.JWKSProxy != "" {
		if a.made.client != nil {
			return nil, &ConfigError{"JWKSProxy", "and Client are both set; give the proxy to the client's transport"}
		}
		if proxy, err = jwks.ParseProxy(config.JWKSProxy); err != nil {
			return nil, &ConfigError{"JWKSProxy", err.Error()}
		}
	}
	if err := config.validate(); err != nil {
		return nil, err
	}
	trusted, err := site.ReadPatterns(config.TrustedOrigins)
	if err != nil {
		return nil, &ConfigError{"TrustedOrigins", err.Error()}
	}
	config.setDefaults()
	i := &instance{config: config}
	if err := a.giveParts(i, before, proxy, facts); err != nil {
		return nil, err
	}
	parts := issuer.Parts{
		Accepted: names.accepted, Audiences: config.Audiences, Cookie: config.SessionCookie, Trusted: trusted,
		Kinds: a.made.kinds, Facts: facts,
		Keys: i.keys, RequireSignature: config.RequireSignature, Memory: a.memory, Gate: a.made.gate, Now: a.made.now,
		Detach: checkwire.Detach, Digest: func(token string) verified.Digest { return verified.Of(checkwire.Bytes(token)) },
		Answer: func(who Identity) issuer.Answer {
			return checkwire.NewAnswer(checkwire.EncodeAllow(&request.Request{}, who, further...))
		},
	}
	if i.database != nil {
		parts.Sessions = i.database
	}
	var inForce *secret.Set
	if before != nil {
		inForce = before.issuer.Secrets
		// What is remembered is answered as it was encoded, with the headers that could be set then.
		if config.isBut(&before.config) && slices.Equal(further, a.further()) {
			parts.Owner = before.issuer.Owner
		}
	}
	parts.Secrets = secret.New(config.secrets(), inForce, func(use secret.Use) { a.metrics.CountFormer(identity.Method(use.String())) })
	i.issuer = issuer.New(parts)
	return i, nil
}

// giveParts takes over the parts of the issuer before that are configured as they were, and makes the others.
func (a *Authorizer) giveParts(i, before *instance, proxy *url.URL, facts *identity.Table) error {
	config := &i.config
	take := func(part any) {
		for _, w := range before.work {
			if w.part == part {
				i.work = append(i.work, w)
			}
		}
	}
	if before != nil && config.JWKSURL == before.config.JWKSURL && config.JWKSProxy == before.config.JWKSProxy {
		i.keys = before.keys
		take(i.keys)
	} else {
		fetcher := jwks.New(config.JWKSURL, "extauthz/"+operator.Version, a.made.client, proxy)
		i.keys = keyset.New(fetcher, a.made.now, a.panics, observe.KeySet{Metrics: a.metrics, Tracing: a.tracing})
		if a.made.refill > 0 {
			i.keys.SetRefill(a.made.refill)
		}
		i.work = append(i.work, &worker{where: guard.InJWKS, run: i.keys.Run, part: i.keys})
	}
	if config.DatabaseURL == "" {
		return nil
	}
	if before != nil && before.database != nil && config.hasDatabaseOf(&before.config) {
		i.database, i.read = before.database, before.read
		i.read.by.Store(&config.ReadDatabaseURL)
		take(i.database)
		return nil
	}
	i.read = new(databaseURL)
	i.read.by.Store(&config.ReadDatabaseURL)
	store := postgres.Config{
		URL: config.DatabaseURL, Connections: config.DatabaseConnections,
		MaxLag: config.DatabaseMaxLag, Names: config.Schema, Budget: a.made.budget, Facts: columnsOf(facts),
	}
	if config.ReadDatabaseURL != nil {
		store.ReadURL = i.read.read
	}
	var err error
	if i.database, err = postgres.New(store, a.panics, observe.Store{Metrics: a.metrics, Tracing: a.tracing}); err != nil {
		return &ConfigError{"DatabaseURL", err.Error()}
	}
	i.work = append(i.work,
		&worker{where: guard.InDatabase, run: i.database.Run, part: i.database, close: i.database.Close})
	return nil
}

// hasDatabaseOf tells whether the same database is asked in the same way.
func (c *issuerConfig) hasDatabaseOf(other *issuerConfig) bool {
	isFollowed := c.ReadDatabaseURL != nil
	return isFollowed == (other.ReadDatabaseURL != nil) && (isFollowed || c.DatabaseURL == other.DatabaseURL) &&
		c.DatabaseConnections == other.DatabaseConnections && c.DatabaseMaxLag == other.DatabaseMaxLag &&
		reflect.DeepEqual(c.Schema, other.Schema) && slices.Equal(c.Identity, other.Identity)
}

// isBut tells whether two issuers differ at most in their secrets and their database, so that what was verified of a JWT
// by the one holds for the other as long as its key or secret is in force.
func (c *issuerConfig) isBut(other *issuerConfig) bool {
	one, two := *c, *other
	for _, config := range []*issuerConfig{&one, &two} {
		config.setSecrets(Secrets{})
		config.DatabaseURL, config.ReadDatabaseURL = "", nil
		config.DatabaseConnections, config.DatabaseMaxLag, config.Schema = 0, 0, SchemaNames{}
	}
	return reflect.DeepEqual(one, two)
}
