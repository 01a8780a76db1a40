package redis_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/redis"
	"extauthz/extauthz/internal/session/redis/secondary"
	"extauthz/extauthz/internal/session/storetest"
)

// unobserved is an observer that is told and keeps nothing.
type unobserved struct{}

func (unobserved) Asked(int, time.Duration, error)                          {}
func (unobserved) Unconnected()                                             {}
func (unobserved) Now() (zero time.Time)                                    { return zero }
func (unobserved) Waited(context.Context, time.Time, time.Time, int, error) {}

// startRedis starts a server that ends with the test.
func startRedis(t testing.TB, arguments ...string) *parts.Redis {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	server, err := installer.StartRedis(t.Context(), t.TempDir(), port, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	return server
}

// openStore runs a store until the test ends.
func openStore(t testing.TB, config redis.Config) *redis.Store {
	t.Helper()
	if config.Budget == 0 {
		config.Budget = time.Minute
	}
	panics := guard.New(slog.New(slog.DiscardHandler), func(where string) { t.Errorf("a panic in %s", where) })
	store, err := redis.New(config, panics, unobserved{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return store
}

// valueOf is what Better Auth keeps of a session.
func valueOf(t testing.TB, token string, row session.Row) string {
	t.Helper()
	const iso = "2006-01-02T15:04:05.000Z"
	value, err := json.Marshal(map[string]any{
		"session": map[string]any{"id": "s", "token": token, "userId": row.UserID, "expiresAt": row.ExpiresAt.UTC().Format(iso),
			"createdAt": time.Now().UTC().Format(iso), "updatedAt": time.Now().UTC().Format(iso)},
		"user": map[string]any{"id": row.UserID, "email": row.Email, "name": row.Name, "emailVerified": false},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// command sends a command that is to succeed.
func command(t testing.TB, server *parts.Redis, words ...string) string {
	t.Helper()
	reply, err := server.Command(words...)
	if err != nil {
		t.Fatal(words[0], reply, err)
	}
	return reply
}

// Redis passes the suite of all stores, whichever keys the adapter has.
func TestStore(t *testing.T) {
	for title, keys := range map[string]secondary.Keys{
		"the official adapter":            {Prefix: secondary.DefaultPrefix},
		"no prefix, tokens by their hash": {Hashed: true},
	} {
		t.Run(title, func(t *testing.T) {
			server := startRedis(t)
			storetest.Test(t, func(t *testing.T) storetest.Store {
				command(t, server, "FLUSHALL")
				tokens := map[string][]string{} // of each user
				store := openStore(t, redis.Config{URL: server.URL(), Keys: keys})
				return storetest.Store{
					Store: store,
					Put: func(t *testing.T, token string, row session.Row) {
						t.Helper()
						command(t, server, "SET", keys.Session(token), valueOf(t, token, row))
						tokens[row.UserID] = append(tokens[row.UserID], token)
					},
					Delete: func(t *testing.T, token string) {
						t.Helper()
						command(t, server, "DEL", keys.Session(token))
					},
					DeleteUser: func(t *testing.T, id string) {
						t.Helper()
						command(t, server, "SET", keys.Markers(id)[0], "9999999999999")
						for _, token := range tokens[id] {
							command(t, server, "DEL", keys.Session(token))
						}
					},
					Stop: func(t *testing.T) {
						t.Helper()
						if err := server.Stop(); err != nil {
							t.Fatal(err)
						}
					},
					Start: func(t *testing.T) {
						t.Helper()
						if err := server.Start(t.Context()); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}
