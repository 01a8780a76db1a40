// Package extauthz is an external-authorization server for Envoy and Istio that runs the full Better
// Auth token check on every request: JWTs by the issuer's JWKS or by the shared secret,
// and session tokens by their row in PostgreSQL or by what is kept of them in Redis.
//
// Make an [Authorizer] with [New], run its background work with [Authorizer.Run], and register it as
// the service envoy.service.auth.v3.Authorization of a gRPC server. The way of one request is
// [Authorizer.Check], from top to bottom.
//
// What it does not do: it matches no paths (which routes are protected is Envoy's configuration),
// issues no tokens and extends no sessions.
package extauthz

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/gate"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/intake"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/verified"
	"extauthz/extauthz/operator"
)

// Config says what to check against. The zero value of a field is its default.
type Config struct {
	// Issuer is Better Auth's base URL, read as Better Auth reads it: the JWKS is at Issuer + "/api/auth/jwks", or at
	// Issuer + "/jwks" where it has a path, and tokens have its origin as iss. One without a path is also accepted as it
	// is written here, with and without a trailing slash. Required, unless Issuers and JWKSURL are both given.
	Issuer string
	// Issuers are the accepted values of iss, any texts, compared octet by octet; by default those that Issuer stands for.
	// With them Issuer only says where the keys are.
	Issuers []string
	// JWKSURL is where the issuer's keys are; by default as Issuer says.
	JWKSURL string
	// JWKSProxy is the URL of a proxy through which the JWKS is fetched: http, https, socks5 or socks5h, with a user
	// name and password in it where it wants them. By default there is none, whatever the environment says. Not together
	// with Client.
	JWKSProxy string
	// Audiences are the accepted values of aud; one is enough. Required. Better Auth's own default for aud is its origin.
	Audiences []string
	// Secret is Better Auth's secret. It turns on HS256, and the check of a session token's
	// signature; without it, session cookies are refused.
	Secret []byte
	// FormerSecrets are those before a rotation. Better Auth itself verifies nothing by them, so they count
	// for nothing unless one of the next two says so.
	FormerSecrets [][]byte
	// FormerForHS256 lets a former secret verify HS256 tokens, for services that have not moved yet.
	FormerForHS256 bool
	// FormerForSessions lets a former secret verify the signature of a session token or cookie, whose row still decides.
	FormerForSessions bool
	// MaxMessageBytes bounds the message of one check that comes in by [Authorizer.Register], the body that Envoy sends
	// along with with_request_body; by default 8 MiB. All together hold no more than 128 MiB, or eight times the bound
	// of one.
	MaxMessageBytes int
	// DatabaseURL is a PostgreSQL connection string. It turns on session tokens.
	DatabaseURL string
	// ReadDatabaseURL, if set, is asked every two seconds and before each new connection for the connection string that
	// counts by then. Another server, database, user or option has all connections be made anew; another password is
	// used by new ones. What cannot be read or used is logged once, and the earlier one stays in force.
	ReadDatabaseURL func() (string, error)
	// DatabaseConnections bounds the connections to PostgreSQL; by default 4.
	DatabaseConnections int
	// DatabaseMaxLag is how far a standby may be behind its primary and still be asked. A sign-out is seen there so much
	// later. By default a primary alone is asked, and a sign-out holds from the next check on.
	DatabaseMaxLag time.Duration
	// RedisURL is the URL of the Redis that is Better Auth's secondaryStorage: redis://, rediss:// for TLS,
	// redis-sentinel:// and redis-cluster://. It turns on session tokens. With DatabaseURL beside it, sessions that Redis
	// does not have are looked up there, as Better Auth does with storeSessionInDatabase.
	RedisURL string
	// ReadRedisURL is to RedisURL what ReadDatabaseURL is to DatabaseURL.
	ReadRedisURL func() (string, error)
	// RedisPrefix is in front of every key; by default "better-auth:", as in Better Auth's own adapter. "none" is for
	// adapters without one.
	RedisPrefix string
	// RedisHashedTokens is for adapters that keep a session under its token's SHA-256 in hexadecimal.
	RedisHashedTokens bool
	// Schema overrides what is found in the database's catalogue.
	Schema SchemaNames
	// RememberedTokens bounds how many verified JWTs are remembered, so that their signature is not
	// verified anew each time; by default 100,000. Negative turns the memory off.
	RememberedTokens int
	// RememberedBytes bounds what they take; by default 128 MiB.
	RememberedBytes int
	// Shadow lets everything pass, for a roll-out; by default off.
	Shadow Shadow
	// SessionCookie is the cookie's name; by default "better-auth.session_token". The same name with
	// __Secure- in front is always accepted too.
	SessionCookie string
	// KeepHeaders are headers of the client's that begin with x-user- or x-auth- and pass to the backend all the same,
	// by their exact names, at most 63. None can be a name that tells the backend who the user is. gRPC-Web's
	// x-user-agent needs no listing. What Envoy itself removes before the check does not pass.
	KeepHeaders []string

	// Identity asks for further facts of the user, for the backend and for routes' rules: role, organization,
	// email-verified, impersonator, session-id, user.COLUMN=x-user-…, session.COLUMN=x-auth-… or claim.NAME=x-user-…,
	// where dots in NAME reach into objects. Sessions have them in their row, as of the check, and the organization only
	// while a membership says so; JWTs have them in claims, as of their issue. A column that is not there, or may not be
	// read, makes session checks fail with its name. By default none.
	Identity []string

	// TrustedOrigins are origins beside the API's own site from which cookies may authenticate unsafe methods and
	// WebSockets, as in Better Auth's trustedOrigins: to the letter, or with wildcards as in https://*.example.com, or an
	// application's own scheme as in capacitor://localhost. By default none.
	TrustedOrigins []string
	// RequireSignature refuses raw session tokens, as Better Auth's bearer({ requireSignature: true }); it wants a Secret.
	RequireSignature bool

	// Several are Better Auths that are accepted side by side, each with what belongs to it. Then the fields above that
	// belong to one are empty; those that do not hold for all. See [IssuerConfig].
	Several []IssuerConfig

	// Logger gets one record a decision, fewer under a flood; by default slog.Default(). The check itself calls its
	// handler, which must not block. A panic of it is counted and told by package log, and changes no answer.
	Logger *slog.Logger
	// Audit gets a record of every denial, and of allows by AuditAllowRate. It is called by the check itself, so it must
	// not wait for anything; by default nobody is called. Where it panics, which is counted and logged, an allow becomes
	// a refusal.
	Audit func(AuditRecord)
	// AuditAllowRate is the share of allows that are recorded, more than 0 and up to 1; the zero value is 1, and a
	// negative one none.
	AuditAllowRate float64
	// Metrics is where the metrics of docs/metrics.md are registered; by default nowhere.
	Metrics prometheus.Registerer
	// TracerProvider makes a span for each check, and for what it waits for; by default none. Spans join the trace
	// of Envoy's call, or of the request (W3C Trace Context), and hold no credential and no user. A panic of it is
	// counted and logged, and changes no answer.
	TracerProvider trace.TracerProvider
	// Now is the clock that tokens and sessions are judged by; by default time.Now.
	Now func() time.Time
	// Client fetches the JWKS; by default one that knows no proxy but JWKSProxy and stays within the origin. It is
	// copied, and each fetch has a connection of its own.
	Client *http.Client

	// budget is decide.TimeBudget, except in tests that a slow machine must not decide.
	budget time.Duration
	// refill is keyset.FetchRefill, except in tests that are not about the pace of fetches and would only wait for it.
	refill time.Duration
	// kinds are issuer.Kinds, except in tests that add one.
	kinds issuer.Chain
}

// Authorizer decides requests. It implements Envoy's envoy.service.auth.v3.Authorization. All methods
// are safe for concurrent use.
type Authorizer struct {
	authv3.UnimplementedAuthorizationServer

	shadow  Shadow
	kept    keptHeaders
	intake  *intake.Intake
	decider *decide.Decider
	memory  *verified.Memory[issuer.Proof] // nil when turned off
	made    madeBy                         // what issuers are made with
	issuers *runningIssuers

	log       *slog.Logger
	audit     observe.Audit
	panics    *guard.Panics
	metrics   *observe.Metrics
	tracing   *observe.Tracing // nil when turned off
	decisions *observe.Log

	life         *life
	registration *observe.Registration // nil where metrics are wanted nowhere
}

// New makes an Authorizer. It reaches for nothing yet: see [Authorizer.Run]. A fault of the configuration is a
// *[ConfigError], and nothing is left behind then. One that is not needed any more is to be closed
// ([Authorizer.Close]).
func New(config Config) (*Authorizer, error) {
	config.KeepHeaders = slices.Clone(config.KeepHeaders)
	if err := config.validate(); err != nil {
		return nil, err
	}
	if err := config.checkSeveral(); err != nil {
		return nil, err
	}
	kept, err := newKeptHeaders(config.KeepHeaders)
	if err != nil {
		return nil, err
	}
	config.setDefaults()
	registration := observe.NewRegistration(config.Metrics)
	metrics := observe.NewMetrics(registration, operator.Version, jwks.Results(), config.kinds.Methods()...)
	panics := guard.New(config.Logger, metrics.CountPanic)
	config.Logger = panics.Logger()
	tracing, err := observe.NewTracing(config.TracerProvider, operator.Version, panics)
	if err != nil {
		return nil, &ConfigError{Field: "TracerProvider", Fault: err.Error()}
	}

	a := &Authorizer{
		life: newLife(), registration: registration,
		shadow: config.Shadow, kept: kept,
		intake: intake.New(config.MaxMessageBytes, panics),
		memory: verified.New[issuer.Proof](config.RememberedTokens, config.RememberedBytes),
		log:    config.Logger, panics: panics,
		audit: observe.Audit{Record: config.Audit, AllowRate: config.AuditAllowRate, Panics: panics,
			Shadowed: config.Shadow != ShadowOff},
		decisions: observe.NewLog(panics, config.Shadow != ShadowOff), metrics: metrics,
		tracing: tracing,
	}
	a.made = madeBy{client: config.Client, now: config.Now, budget: config.budget, refill: config.refill,
		kinds: config.kinds, gate: gate.New(), isNamed: config.Several != nil}
	a.decider = &decide.Decider{Budget: config.budget, Panics: panics, Hits: metrics.Hits, Misses: metrics.Misses}
	a.issuers = newRunningIssuers(panics)
	if err := a.setIssuers(config.issuers()); err != nil {
		return nil, err
	}
	a.watch(registration)
	if err := registration.Commit(); err != nil {
		a.Close()
		return nil, &ConfigError{Field: "Metrics", Fault: err.Error()}
	}
	return a, nil
}

// Run does the background work until ctx ends: it fetches the JWKS, connects to Redis and the database, and
// goes on trying when either is down. Checks that come before are answered with 503.
//
// It is to be called once; a second call is logged and returns at once, and so does one after [Authorizer.Close].
func (a *Authorizer) Run(ctx context.Context) {
	done, ok := a.life.begin()
	if !ok {
		a.log.Error("Run was called twice, or after Close; nothing was started")
		return
	}
	defer done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(a.life.ctx, stop)()
	var work sync.WaitGroup
	work.Go(func() { a.decisions.TellLeftOut(ctx) })
	if a.shadow != ShadowOff {
		work.Go(func() { a.remindOfShadow(ctx) })
	}
	a.issuers.run(ctx)
	work.Wait()
}

// Missing names the parts that have not answered once yet: "jwks", "redis", "database", with several issuers "jwks of
// NAME". When none is left the server is ready, and stays so: a part that fails later fails its own checks only.
func (a *Authorizer) Missing() []string {
	var missing []string
	for _, i := range a.issuers.all() {
		add := func(part string) {
			if a.made.isNamed {
				part += " of " + i.config.Name
			}
			missing = append(missing, part)
		}
		if !i.keys.IsFetched() {
			add("jwks")
		}
		if i.redis != nil && !i.redis.IsReady() {
			add("redis")
		}
		if i.database != nil && !i.database.IsReady() {
			add("database")
		}
	}
	return missing
}

// SetSecrets puts other secrets in force, from the next check on: tokens by one that is no longer there are refused,
// remembered or not. A rotation first makes the new secret current and the old one former, and leaves that out at its
// end. What former secrets are good for stays as it is.
func (a *Authorizer) SetSecrets(current []byte, former [][]byte) {
	a.replaceSecrets(func(inForce Secrets) Secrets {
		inForce.Current, inForce.Former = current, former
		return inForce
	})
}

// ReplaceSecrets is [Authorizer.SetSecrets] that also says what former secrets are good for. No check sees the one
// without the other.
func (a *Authorizer) ReplaceSecrets(secrets Secrets) {
	a.replaceSecrets(func(Secrets) Secrets { return secrets })
}

// Refresh fetches the JWKS now, so that withdrawn keys stop: within 250 ms of the fetch before at the earliest, and
// also where the issuer asked to be left alone. It replaces the connections to Redis and the database, by the URLs
// and the addresses as they are now. It does not wait, and no check fails by it.
func (a *Authorizer) Refresh() {
	for _, i := range a.issuers.all() {
		i.keys.Refresh()
		if i.redis != nil {
			i.redis.Refresh()
		}
		if i.database != nil {
			i.database.Refresh()
		}
	}
}

// Parts tells how the parts are now, be the server ready or not.
func (a *Authorizer) Parts() []Part {
	var parts []Part
	for _, i := range a.issuers.all() {
		parts = append(parts, i.keys.State.Part("jwks"))
		if i.redis != nil {
			parts = append(parts, i.redis.Part())
		}
		if i.database != nil {
			parts = append(parts, i.database.Part())
		}
		if a.made.isNamed {
			for n := len(parts) - 1; n >= 0 && parts[n].Issuer == ""; n-- {
				parts[n].Issuer = i.config.Name
			}
		}
	}
	return parts
}

// Operator is what the command of this module looks at and embedders need not: the keys in use, and a diagnosis. Its
// type is internal, and changes without a word in CHANGELOG.md.
func (a *Authorizer) Operator() *operator.View { return operator.New(a.issuers.operated) }
