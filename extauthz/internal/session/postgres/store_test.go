package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/postgres"
	"extauthz/extauthz/internal/session/storetest"
)

// betterAuthTables is what Better Auth's own migrations create, as far as it matters here; without the foreign key, so
// that a user can go before the sessions.
const betterAuthTables = `
create table "user" ("id" text primary key, "name" text not null, "email" text not null unique);
create table "session" ("id" text primary key, "expiresAt" timestamptz not null, "token" text not null unique,
  "ipAddress" text, "userAgent" text, "userId" text not null);`

// unobserved is an observer that is told and keeps nothing.
type unobserved struct{}

func (unobserved) Asked(int, time.Duration, error)                          {}
func (unobserved) Unconnected()                                             {}
func (unobserved) Now() (zero time.Time)                                    { return zero }
func (unobserved) Waited(context.Context, time.Time, time.Time, int, error) {}

// PostgreSQL passes the suite of all stores.
func TestStore(t *testing.T) {
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	server, err := installer.StartPostgres(t.Context(), t.TempDir(), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	databases := 0
	storetest.Test(t, func(t *testing.T) storetest.Store {
		databases++
		url, err := server.CreateDatabase(t.Context(), fmt.Sprintf("store_%d", databases))
		if err != nil {
			t.Fatal(err)
		}
		execute := func(t *testing.T, statement string, arguments ...any) {
			t.Helper()
			connection, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close(t.Context())
			if _, err := connection.Exec(t.Context(), statement, arguments...); err != nil {
				t.Fatal(err)
			}
		}
		execute(t, betterAuthTables)
		panics := guard.New(slog.New(slog.DiscardHandler), func(where string) { t.Errorf("a panic in %s", where) })
		store, err := postgres.New(postgres.Config{URL: url, Connections: 3, Budget: time.Minute}, panics, unobserved{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { store.Run(ctx) })
		t.Cleanup(func() { cancel(); running.Wait() })
		return storetest.Store{
			Store: store,
			Put: func(t *testing.T, token string, row session.Row) {
				t.Helper()
				execute(t, `insert into "user" ("id", "name", "email") values ($1, $2, $3) on conflict do nothing`,
					row.UserID, row.Name, row.Email)
				execute(t, `insert into "session" ("id", "expiresAt", "token", "userId") values ($2, $1, $2, $3)`,
					row.ExpiresAt, token, row.UserID)
			},
			Delete: func(t *testing.T, token string) {
				t.Helper()
				execute(t, `delete from "session" where "token" = $1`, token)
			},
			DeleteUser: func(t *testing.T, id string) {
				t.Helper()
				execute(t, `delete from "user" where "id" = $1`, id)
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
}
