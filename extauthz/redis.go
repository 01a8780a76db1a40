package extauthz

import (
	"slices"

	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/observe"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/redis"
	"extauthz/extauthz/internal/session/redis/secondary"
)

// sessions are where sessions are asked for, nil where they are nowhere, and what tells that they cannot be asked now.
func (i *instance) sessions(facts *identity.Table) (store session.Store, fail func() bool) {
	switch {
	case i.redis != nil && i.database != nil:
		return session.Layered{First: i.redis, Second: i.database, Beside: membersOf(facts)},
			func() bool { return !i.redis.State.IsOK() || !i.database.State.IsOK() }
	case i.redis != nil:
		return i.redis, func() bool { return !i.redis.State.IsOK() }
	case i.database != nil:
		return i.database, func() bool { return !i.database.State.IsOK() }
	}
	return nil, nil
}

// giveRedis is giveParts for Redis.
func (a *Authorizer) giveRedis(
	i, before *instance, take func(part any), facts *identity.Table, panics *guard.Panics,
) error {
	config := &i.config
	if config.RedisURL == "" {
		return nil
	}
	if config.DatabaseURL == "" {
		for _, at := range membersOf(facts) {
			if facts.Asked[at].Header != "" {
				return &ConfigError{Field: "Identity", Fault: "asks for the organization, and Redis does not hold who is a member; " +
					"set Config.DatabaseURL as well, or leave it out"}
			}
		}
	}
	if before != nil && before.redis != nil && config.hasRedisOf(&before.config) {
		i.redis, i.redisURL = before.redis, before.redisURL
		take(i.redis)
		return nil
	}
	i.redisURL = new(followedURL)
	store := redis.Config{
		URL: config.RedisURL, Budget: a.made.budget,
		Keys: config.redisKeys(), Facts: valuesOf(facts),
	}
	if config.ReadRedisURL != nil {
		store.ReadURL = i.redisURL.read
	}
	var err error
	if i.redis, err = redis.New(store, panics, observe.Redis{Metrics: i.metrics, Tracing: a.tracing}); err != nil {
		return &ConfigError{Field: "RedisURL", Fault: err.Error()}
	}
	i.work = append(i.work, &worker{where: guard.InRedis, run: i.redis.Run, part: i.redis, close: i.redis.Close})
	return nil
}

// hasRedisOf tells whether the same Redis is asked in the same way.
func (c *IssuerConfig) hasRedisOf(other *IssuerConfig) bool {
	isFollowed := c.ReadRedisURL != nil
	return isFollowed == (other.ReadRedisURL != nil) && (isFollowed || c.RedisURL == other.RedisURL) &&
		c.RedisPrefix == other.RedisPrefix && c.RedisHashedTokens == other.RedisHashedTokens &&
		slices.Equal(c.Identity, other.Identity)
}

// valuesOf are the members of a session's value that have the facts, in the table's order.
func valuesOf(facts *identity.Table) []secondary.Fact {
	models := map[identity.Model]string{identity.OfUser: "user", identity.OfSession: "session"}
	values := make([]secondary.Fact, len(facts.Asked))
	for i := range facts.Asked {
		if model := models[facts.Asked[i].Of]; model != "" {
			values[i] = secondary.Fact{Of: model, Name: facts.Asked[i].Column}
		}
	}
	return values
}

// membersOf are those of the facts that only the database has, since a membership is a row there.
func membersOf(facts *identity.Table) (members []int) {
	for i := range facts.Asked {
		if facts.Asked[i].Of == identity.OfMembership {
			members = append(members, i)
		}
	}
	return members
}

// redisKeys are the keys that Better Auth's adapter has.
func (c *IssuerConfig) redisKeys() secondary.Keys {
	keys := secondary.Keys{Prefix: c.RedisPrefix, Hashed: c.RedisHashedTokens}
	switch c.RedisPrefix {
	case "":
		keys.Prefix = secondary.DefaultPrefix
	case "none":
		keys.Prefix = ""
	}
	return keys
}
