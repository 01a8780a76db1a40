package redis

import (
	"context"
	"errors"

	"extauthz/extauthz/internal/session/redis/master"
	"extauthz/extauthz/internal/session/redis/server"
)

var errURLChanged = errors.New("the URL of Redis has changed meanwhile")

// openMaster connects to the master that the Sentinels name; while none of them answers, to the one that they named last.
func (s *Store) openMaster(ctx context.Context, _ *master.Target) (*master.Connection, error) {
	to, err := s.followMaster(ctx)
	if err != nil {
		if to = s.direct.keeper.Current(); len(to.At) == 0 {
			return nil, err
		}
	}
	return s.opener.Open(ctx, to)
}

// followMaster asks the Sentinels, and has connections lead to the master that they name: those to a former one take no
// further batch, though it may still believe that it is one.
func (s *Store) followMaster(ctx context.Context) (*master.Target, error) {
	o := s.options.Load()
	address, err := server.FindMaster(ctx, o)
	if err != nil {
		return nil, err
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.options.Load() != o { // the URL was replaced meanwhile; this answer would put the earlier one in force
		return nil, errURLChanged
	}
	to := &master.Target{Options: o, At: []string{address}}
	if s.direct.keeper.Retarget(to) {
		s.log.Info("the Sentinels name the Redis master", "address", address)
	}
	return to, nil
}
