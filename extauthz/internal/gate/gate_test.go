package gate_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/extauthz/internal/gate"
	"extauthz/extauthz/internal/reason"
)

// As many verifications run at once as there are turns; the others wait, or are shed where the wait would be too long.
func TestGate(t *testing.T) {
	g := &gate.Gate{Turns: make(chan struct{}, 2)}
	var running, most atomic.Int64
	var work sync.WaitGroup
	for range 50 {
		work.Go(func() {
			fits, err := g.Pass(t.Context(), func() bool {
				now := running.Add(1)
				for known := most.Load(); now > known && !most.CompareAndSwap(known, now); known = most.Load() {
				}
				time.Sleep(time.Millisecond)
				running.Add(-1)
				return true
			})
			if err != nil || !fits {
				t.Errorf("%t %v", fits, err)
			}
		})
	}
	work.Wait()
	if most.Load() > 2 || len(g.Turns) != 0 || g.Waiting.Load() != 0 {
		t.Errorf("%d at once; %d turns and %d waiting are left", most.Load(), len(g.Turns), g.Waiting.Load())
	}
}

func TestGateSheds(t *testing.T) {
	g := &gate.Gate{Turns: make(chan struct{}, 1)}
	g.Usual.Store(int64(gate.MaxQueue / 3))
	held, release := make(chan struct{}), make(chan struct{})
	go g.Pass(t.Context(), func() bool { close(held); <-release; return true })
	<-held
	givenUp, giveUp := context.WithCancel(t.Context())
	outcomes := make(chan reason.Reason)
	for waiting := int64(1); waiting <= 3; waiting++ {
		go func() {
			_, err := g.Pass(givenUp, func() bool { return true })
			outcomes <- reason.Of(err).Reason()
		}()
		for deadline := time.Now().Add(time.Minute); g.Waiting.Load() != waiting; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the next does not wait")
			}
		}
	}
	if _, err := g.Pass(t.Context(), func() bool { t.Error("verified all the same"); return true }); reason.Of(err).Reason() != reason.Overloaded {
		t.Errorf("%v, want it shed", err)
	}
	giveUp()
	for range 3 {
		if why := <-outcomes; why != reason.Cancelled {
			t.Errorf("reason %q of one that was given up", why)
		}
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := g.Pass(late, func() bool { t.Error("verified all the same"); return true }); reason.Of(err).Reason() != reason.TimeBudgetSpent {
		t.Errorf("%v of one whose time is spent", err)
	}
	close(release)
	if fits, err := g.Pass(t.Context(), func() bool { return false }); fits || err != nil {
		t.Errorf("%t %v after the flood", fits, err)
	}
}

// A panic in a verification gives its turn back.
func TestGateSurvivesPanic(t *testing.T) {
	g := &gate.Gate{Turns: make(chan struct{}, 1)}
	func() {
		defer func() { recover() }()
		g.Pass(t.Context(), func() bool { panic("odd key") })
	}()
	if fits, err := g.Pass(t.Context(), func() bool { return true }); !fits || err != nil {
		t.Errorf("%t %v", fits, err)
	}
}

func BenchmarkGate(b *testing.B) {
	g := gate.New()
	b.ReportAllocs()
	for b.Loop() {
		g.Pass(context.Background(), func() bool { return true })
	}
}
