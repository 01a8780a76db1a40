package pool

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/session"
)

// place is a target that is the same as itself alone.
type place struct{}

func (p *place) IsSame(other *place) bool { return p == other }

// queryTime is what a fake connection takes for an answer.
const queryTime = 50 * time.Millisecond

// fake is a connection that knows no session; open is how many there are.
type fake struct {
	to   *place
	open *atomic.Int64
}

func (f *fake) Ask([]string) (map[string]*session.Row, error) { time.Sleep(queryTime); return nil, nil }
func (f *fake) Interrupt()                                    {}
func (f *fake) Close()                                        { f.open.Add(-1) }
func (f *fake) Target() *place                                { return f.to }
func (f *fake) Host() string                                  { return "db.example.com" }
func (f *fake) Address() netip.Addr                           { return netip.MustParseAddr("192.0.2.1") }
func (f *fake) IsUseful() bool                                { return true }

// startKeeper keeps connections, at most so many. While refused is set, none can be made. open is how many there are.
func startKeeper(t *testing.T, most int64) (
	k *Keeper[*place, *fake, *session.Row], open, made *atomic.Int64, refused *atomic.Bool, stop func(),
) {
	open, made, refused = new(atomic.Int64), new(atomic.Int64), new(atomic.Bool)
	k = New[*place, *fake](session.NewBatcher[*session.Row](400*time.Millisecond, most), new(place))
	k.Wanted = k.Want
	k.Open = func(_ context.Context, to *place) (*fake, error) {
		if refused.Load() {
			return nil, errors.New("connection refused")
		}
		made.Add(1)
		open.Add(1)
		return &fake{to, open}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	synctest.Wait()
	return k, open, made, refused, func() { cancel(); <-done }
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

// Where the server has a place for one connection, a renewal fails no check, though the connection that gives way is
// still busy with its last query when the first attempt to make another one is refused.
func TestRenewalWithOnePlaceFailsNoCheck(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		k, open, made, _, stop := startKeeper(t, 2)
		defer stop()
		full := errors.New("too many connections")
		k.IsFull = func(err error) bool { return err == full }
		make := k.Open
		k.Open = func(ctx context.Context, to *place) (*fake, error) {
			if open.Load() > 0 {
				return nil, full
			}
			return make(ctx, to)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var checks sync.WaitGroup
		for range 8 {
			checks.Go(func() {
				for ctx.Err() == nil {
					if l, err := k.Ask(ctx, "token"); err != nil || l != nil && l.Err != nil {
						t.Errorf("a check fails: %v", err)
						return
					}
				}
			})
		}
		for range 5 {
			time.Sleep(time.Second)
			k.Renew()
		}
		checks.Wait()
		if made.Load() < 4 || open.Load() != 1 {
			t.Errorf("%d connections made, %d open, want five more or so, and one", made.Load(), open.Load())
		}
	})
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
				k.Moved("db.example.com", elsewhere)
				k.Moved("another.example.com", elsewhere)
				time.Sleep(replaceTimeout - 2*time.Second)
				k.Moved("db.example.com", elsewhere) // looked at again; the time goes on
				synctest.Wait()
				if open.Load() != 1 || k.Up.Load() != 1 {
					t.Fatalf("given up early: %d open", open.Load())
				}
				if comesBack {
					k.Moved("db.example.com", here)
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
