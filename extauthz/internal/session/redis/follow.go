package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"extauthz/extauthz/internal/session/redis/master"
	"extauthz/extauthz/internal/session/redis/redisurl"
)

const (
	// sourceInterval is the time between two looks at the URL, where it may change.
	sourceInterval = 2 * time.Second
	// masterInterval is the time between two questions to the Sentinels.
	masterInterval = time.Second
	// namesInterval is the time between two looks at the addresses of names.
	namesInterval = 20 * time.Second
)

// follow has connections lead to where the URL, its names and the Sentinels say now.
func (s *Store) follow(ctx context.Context) {
	ticker := time.NewTicker(masterInterval)
	defer ticker.Stop()
	resolved, looked := time.Now(), time.Now()
	for {
		renewing := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.renewed:
			renewing = true
		}
		if renewing || time.Since(looked) >= sourceInterval {
			looked = time.Now()
			s.readAnew()
		}
		if s.direct != nil && s.options.Load().Mode == redisurl.Sentinel {
			s.followMaster(ctx)
		}
		if renewing && s.cluster != nil {
			s.cluster.lookSoon()
		}
		names := renewing || time.Since(resolved) >= namesInterval
		var all []*node
		s.each(func(n *node) { all = append(all, n) })
		for _, n := range all {
			if renewing {
				n.keeper.Renew()
			}
			if names {
				resolved = time.Now()
				n.resolveAnew(ctx)
			}
		}
	}
}

// readAnew reads the URL. One that cannot be read or used is told once, and the earlier one stays in force.
func (s *Store) readAnew() {
	if s.read == nil {
		return
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	text, err := s.read()
	if err != nil {
		err = fmt.Errorf("cannot be read: %w", err)
	}
	var o *redisurl.Options
	if err == nil {
		o, err = redisurl.Parse(text)
	}
	if err == nil && (o.Mode == redisurl.Cluster) != (s.cluster != nil) {
		err = errors.New("changes between a Cluster and none, which needs a restart")
	}
	if err == nil && (o.Mode == redisurl.Sentinel) != (s.options.Load().Mode == redisurl.Sentinel) {
		err = errors.New("changes between Sentinels and none, which needs a restart")
	}
	if err != nil {
		if s.source.IsNew(err.Error()) {
			s.log.Warn("the URL of Redis cannot be used; the earlier one stays in force", "error", err)
		}
		return
	}
	s.source.IsNew("")
	isSame := s.options.Load().IsSame(o)
	if isSame && text == s.lastRead { // otherwise a file that it names may have been renewed
		return
	}
	s.lastRead = text
	s.options.Store(o)
	switch {
	case s.cluster != nil:
		s.cluster.lookSoon()
	case o.Mode == redisurl.Sentinel:
		to := &master.Target{Options: o}
		if isSame { // another URL's master is not known yet
			to.At = s.direct.keeper.Current().At
		}
		s.direct.keeper.Retarget(to)
	default:
		s.direct.keeper.Retarget(&master.Target{Options: o, At: o.Hosts})
	}
	if !isSame {
		s.log.Info("the URL of Redis has changed; reconnecting")
	}
}

// openAnew makes a connection by the URL as it is now.
func (s *Store) openAnew(ctx context.Context, to *master.Target) (*master.Connection, error) {
	if s.read != nil {
		s.readAnew() // a password that has changed is used at once
		to = s.direct.keeper.Current()
	}
	return s.opener.Open(ctx, to)
}
