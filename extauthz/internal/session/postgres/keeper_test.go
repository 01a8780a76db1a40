package postgres

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/session"
)

// testBudget is what a check may take in these tests.
const testBudget = 400 * time.Millisecond

// startKeeper keeps connections, at most so many, to a server in memory. While refused is set, none can be made. open
// is how many the server has.
func startKeeper(t *testing.T, most int64) (
	k *keeper, open, made *atomic.Int64, refused *atomic.Bool, stop func(),
) {
	to, err := ReadTarget("postgres://reader:secret@db.example.com/app?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	open, made, refused = new(atomic.Int64), new(atomic.Int64), new(atomic.Bool)
	k = newKeeper(session.NewBatcher(testBudget, most), to)
	k.Wanted = k.want
	k.open = func(ctx context.Context, to *Target) (*connection, error) {
		if refused.Load() {
			return nil, errors.New("connection refused")
		}
		config := to.Config.Copy()
		config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil }
		config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go serveInMemory(server, open)
			return client, nil
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return nil, err
		}
		made.Add(1)
		address := netip.MustParseAddr("192.0.2.1")
		return &connection{Conn: conn, dials: newDials(), target: to, host: "db.example.com", Address: address}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.run(ctx) }()
	synctest.Wait()
	return k, open, made, refused, func() { cancel(); <-done }
}

// serveInMemory lets one client in and waits until it goes.
func serveInMemory(network net.Conn, open *atomic.Int64) {
	defer network.Close()
	backend := pgproto3.NewBackend(network, network)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if backend.Flush() != nil {
		return
	}
	open.Add(1)
	defer open.Add(-1)
	for {
		message, err := backend.Receive()
		if _, isEnd := message.(*pgproto3.Terminate); isEnd || err != nil {
			return
		}
	}
}

// A connection is replaced when it is old, and not before; the new one is there before the old one goes, where there
// is a place for two.
func TestOldConnectionsAreReplaced(t *testing.T) {
	for _, most := range []int64{1, 2} {
		bubble.Test(t, func(t *testing.T) {
			k, open, made, _, stop := startKeeper(t, most)
			defer stop()
			time.Sleep(connectionAge*3/4 - time.Second)
			if made.Load() != 1 || open.Load() != 1 {
				t.Fatalf("limit %d: %d connections made, %d open, want the first one", most, made.Load(), open.Load())
			}
			end := time.Now().Add(connectionAge/4 + 2*time.Second)
			for ; time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				synctest.Wait()
				if k.Up.Load() == 0 || open.Load() > most {
					t.Fatalf("limit %d: %d connections served, %d open", most, k.Up.Load(), open.Load())
				}
			}
			if made.Load() != 2 || open.Load() != 1 {
				t.Errorf("limit %d: %d connections made, %d open, want another one alone", most, made.Load(), open.Load())
			}
		})
	}
}

// A connection to an address that its name no longer has is used for a while when no other can be made, and not longer;
// one whose address comes back is kept.
func TestGoneAddressIsGivenUp(t *testing.T) {
	here := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}
	elsewhere := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.2"): true}
	for title, comesBack := range map[string]bool{"gone": false, "comes back": true} {
		t.Run(title, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				k, open, made, refused, stop := startKeeper(t, 2)
				defer stop()
				refused.Store(true)
				k.moved("db.example.com", elsewhere)
				k.moved("another.example.com", elsewhere)
				time.Sleep(replaceTimeout - 2*time.Second)
				k.moved("db.example.com", elsewhere) // looked at again; the time goes on
				synctest.Wait()
				if open.Load() != 1 || k.Up.Load() != 1 {
					t.Fatalf("given up early: %d open", open.Load())
				}
				if comesBack {
					k.moved("db.example.com", here)
				}
				time.Sleep(4 * time.Second)
				synctest.Wait()
				if is := open.Load() == 1; is != comesBack {
					t.Errorf("%d connections open", open.Load())
				}
				refused.Store(false)
				time.Sleep(2 * lastPause)
				synctest.Wait()
				if want := map[bool]int64{true: 1, false: 2}[comesBack]; open.Load() != 1 || made.Load() != want {
					t.Errorf("%d connections open, %d made, want %d", open.Load(), made.Load(), want)
				}
			})
		})
	}
}
