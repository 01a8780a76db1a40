package extauthz

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
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
	"extauthz/extauthz/internal/session/redis"
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
	// isNamed tells that the issuers are those of Config.Several; else there is one, and nobody wants its name.
	isNamed bool
}

// instance is one issuer and the parts that work for it. It is never changed, only replaced; the parts of one that has
// not changed in them go on in its successor.
type instance struct {
	config      IssuerConfig
	issuer      *issuer.Issuer
	metrics     *observe.Issuer
	keys        *keyset.Set
	database    *postgres.Store // nil when not configured
	databaseURL *followedURL
	redis       *redis.Store // nil when not configured
	redisURL    *followedURL
	work        []*worker
}

// followedURL reads the URL of a database or of Redis, by the function that the latest configuration has for it.
type followedURL struct {
	by atomic.Pointer[func() (string, error)]
}

func (u *followedURL) read() (string, error) { return (*u.by.Load())() }

// follow has the parts read their URLs by the functions of this configuration, now that it comes in force: one that is
// refused leaves the parts as they are, which the issuer before has as well.
func (i *instance) follow() {
	if i.databaseURL != nil {
		i.databaseURL.by.Store(&i.config.ReadDatabaseURL)
	}
	if i.redisURL != nil {
		i.redisURL.by.Store(&i.config.ReadRedisURL)
	}
}

// newInstance makes an issuer, with those parts of the one before, which may be nil, that are as they were. The error
// is a *[ConfigError].
func (a *Authorizer) newInstance(
	config IssuerConfig, before *instance, several bool, facts *identity.Table, further []string,
) (*instance, error) {
	if err := checkName(config.Name); err != nil {
		return nil, err
	}
	names, err := readIssuer(&config)
	if err != nil {
		return nil, err
	}
	config.JWKSURL = names.jwksURL
	var proxy *url.URL
	if config.JWKSProxy != "" {
		if a.made.client != nil {
			return nil, &ConfigError{Field: "JWKSProxy",
				Fault: "and Client are both set; give the proxy to the client's transport"}
		}
		if proxy, err = jwks.ParseProxy(config.JWKSProxy); err != nil {
			return nil, &ConfigError{Field: "JWKSProxy", Fault: err.Error()}
		}
	}
	if err := config.validate(); err != nil {
		return nil, err
	}
	trusted, err := site.ReadPatterns(config.TrustedOrigins)
	if err != nil {
		return nil, &ConfigError{Field: "TrustedOrigins", Fault: err.Error()}
	}
	config.setDefaults()
	i := &instance{config: config}
	if before != nil {
		i.metrics = before.metrics
	} else {
		i.metrics = a.metrics.Issuer(config.Name, a.made.isNamed)
	}
	if err := a.giveParts(i, before, proxy, facts); err != nil {
		return nil, err
	}
	parts := issuer.Parts{
		Name: config.Name, Host: names.host, As: i.metrics.As,
		Accepted: names.accepted, Audiences: config.Audiences, Cookie: config.SessionCookie, Trusted: trusted,
		Kinds: a.made.kinds, Facts: facts, Detach: checkwire.Detach,
		Keys: i.keys, RequireSignature: config.RequireSignature, Memory: a.memory, Gate: a.made.gate, Now: a.made.now,
		Digest: func(token string) verified.Digest { return verified.Of(checkwire.Bytes(token)) },
		Answer: func(who Identity) issuer.Answer {
			return checkwire.NewAnswer(checkwire.EncodeAllow(&request.Request{}, who, further...))
		},
	}
	if several {
		parts.Told = config.Name
	}
	parts.Sessions, parts.SessionsFail = i.sessions(facts)
	var inForce *secret.Set
	if before != nil {
		inForce = before.issuer.Secrets
		// What is remembered is answered as it was encoded, with the name and the headers that could be set then.
		if config.isBut(&before.config) && before.issuer.Told == parts.Told && slices.Equal(further, a.further()) {
			parts.Owner = before.issuer.Owner
		}
	}
	parts.Secrets = secret.New(config.secrets(), inForce,
		func(use secret.Use) { i.metrics.CountFormer(identity.Method(use.String())) })
	i.issuer = issuer.New(parts)
	return i, nil
}

// giveParts takes over the parts of the issuer before that are configured as they were, and makes the others.
func (a *Authorizer) giveParts(i, before *instance, proxy *url.URL, facts *identity.Table) error {
	config, panics := &i.config, a.panics
	if a.made.isNamed {
		panics = panics.With("issuer", config.Name)
	}
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
		i.keys = keyset.New(fetcher, a.made.now, panics, observe.KeySet{Metrics: i.metrics, Tracing: a.tracing})
		if a.made.refill > 0 {
			i.keys.SetRefill(a.made.refill)
		}
		i.work = append(i.work, &worker{where: guard.InJWKS, run: i.keys.Run, part: i.keys})
	}
	if err := a.giveRedis(i, before, take, facts, panics); err != nil {
		return err
	}
	if config.DatabaseURL == "" {
		return nil
	}
	if before != nil && before.database != nil && config.hasDatabaseOf(&before.config) {
		i.database, i.databaseURL = before.database, before.databaseURL
		take(i.database)
		return nil
	}
	i.databaseURL = new(followedURL)
	store := postgres.Config{
		URL: config.DatabaseURL, Connections: config.DatabaseConnections,
		MaxLag: config.DatabaseMaxLag, Names: config.Schema, Budget: a.made.budget, Facts: columnsOf(facts),
	}
	if config.ReadDatabaseURL != nil {
		store.ReadURL = i.databaseURL.read
	}
	var err error
	if i.database, err = postgres.New(store, panics, observe.Store{Metrics: i.metrics, Tracing: a.tracing}); err != nil {
		return &ConfigError{Field: "DatabaseURL", Fault: err.Error()}
	}
	i.work = append(i.work,
		&worker{where: guard.InDatabase, run: i.database.Run, part: i.database, close: i.database.Close})
	return nil
}

// hasDatabaseOf tells whether the same database is asked in the same way.
func (c *IssuerConfig) hasDatabaseOf(other *IssuerConfig) bool {
	isFollowed := c.ReadDatabaseURL != nil
	return isFollowed == (other.ReadDatabaseURL != nil) && (isFollowed || c.DatabaseURL == other.DatabaseURL) &&
		c.DatabaseConnections == other.DatabaseConnections && c.DatabaseMaxLag == other.DatabaseMaxLag &&
		reflect.DeepEqual(c.Schema, other.Schema) && slices.Equal(c.Identity, other.Identity)
}

// isBut tells whether two issuers differ at most in their secrets and in where their sessions are, so that what was
// verified of a JWT by the one holds for the other as long as its key or secret is in force.
func (c *IssuerConfig) isBut(other *IssuerConfig) bool {
	one, two := *c, *other
	for _, config := range []*IssuerConfig{&one, &two} {
		config.setSecrets(Secrets{})
		config.DatabaseURL, config.ReadDatabaseURL = "", nil
		config.RedisURL, config.ReadRedisURL, config.RedisPrefix, config.RedisHashedTokens = "", nil, "", false
		config.DatabaseConnections, config.DatabaseMaxLag, config.Schema = 0, 0, SchemaNames{}
	}
	return reflect.DeepEqual(one, two)
}
