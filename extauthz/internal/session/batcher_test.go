package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/extauthz/internal/bubble"
)

// testBudget is what a check may take in these tests.
const testBudget = 400 * time.Millisecond

// fakeLink answers after a while, or never; it dies when it is told to. It knows the tokens that begin with "live".
type fakeLink struct {
	delay       time.Duration // negative: silent until interrupted
	dies        bool          // each query ends with a lost connection
	fails       error         // each query ends with this
	odd         string        // each query that asks for a token with this in it fails
	panics      bool
	mu          sync.Mutex
	asked       [][]string
	times       []time.Time
	interrupted chan struct{}
}

func newFakeLink(delay time.Duration) *fakeLink {
	return &fakeLink{delay: delay, interrupted: make(chan struct{}, 8)}
}

func (f *fakeLink) Ask(tokens []string) (map[string]*Row, error) {
	f.mu.Lock()
	f.asked, f.times = append(f.asked, tokens), append(f.times, time.Now())
	f.mu.Unlock()
	if f.panics {
		panic("in a query")
	}
	if f.delay < 0 {
		<-f.interrupted
		return nil, Lost(errors.New("interrupted"))
	}
	select {
	case <-time.After(f.delay):
	case <-f.interrupted:
		return nil, Lost(errors.New("interrupted"))
	}
	if f.dies {
		return nil, Lost(errors.New("connection reset"))
	}
	if f.fails != nil {
		return nil, f.fails
	}
	if f.odd != "" && slices.ContainsFunc(tokens, func(token string) bool { return strings.Contains(token, f.odd) }) {
		return nil, errors.New("a row that cannot be read")
	}
	rows := make(map[string]*Row)
	for _, token := range tokens {
		if strings.HasPrefix(token, "live") {
			rows[token] = &Row{UserID: token}
		}
	}
	return rows, nil
}

func (f *fakeLink) Interrupt() { f.interrupted <- struct{}{} }

// startBatcher serves the links until the test ends. A link that is lost is served no more.
func startBatcher(t *testing.T, links ...Link[*Row]) (b *Batcher[*Row], stop func()) {
	b = NewBatcher[*Row](testBudget, int64(len(links)))
	b.Guard = func(work func()) (panicked bool) {
		defer func() { panicked = recover() != nil }()
		work()
		return false
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for _, l := range links {
		work.Go(func() { b.Serve(ctx, l, nil) })
	}
	synctest.Wait()
	return b, func() { cancel(); work.Wait() }
}

// askBatcher asks as a check does, and returns how long that took.
func askBatcher(b *Batcher[*Row], token string) (row *Row, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), testBudget)
	defer cancel()
	started := time.Now()
	l, err := b.Ask(ctx, token)
	switch {
	case err != nil:
	case l == nil:
		err = ctx.Err()
	default:
		row, err = l.Row, l.Err
	}
	return row, time.Since(started), err
}

// As long as one connection answers, every question is answered, by its own row and within the budget, whatever the
// other connections do.
func TestOneLinkThatAnswersIsEnough(t *testing.T) {
	silent := func() Link[*Row] { return newFakeLink(-1) }
	dying := func() Link[*Row] { return &fakeLink{dies: true, interrupted: make(chan struct{}, 8)} }
	slow := func() Link[*Row] { return newFakeLink(testBudget - time.Millisecond) }
	panicking := func() Link[*Row] { return &fakeLink{panics: true} }
	for title, others := range map[string][]Link[*Row]{
		"three silent": {silent(), silent(), silent()}, "three dying": {dying(), dying(), dying()}, "each kind": {silent(), dying(), slow()},
		"four silent": {silent(), silent(), silent(), silent()}, "none": nil, "slow": {slow(), slow()},
	} {
		t.Run(title, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				for _, l := range others {
					if f := l.(*fakeLink); f.interrupted != nil {
						f.interrupted = make(chan struct{}, 8) // of this bubble
					}
				}
				b, stop := startBatcher(t, append(others, newFakeLink(2*time.Millisecond))...)
				defer stop()
				var checks sync.WaitGroup
				for i := range 2000 {
					checks.Go(func() {
						time.Sleep(time.Duration(i) * time.Millisecond)
						live := i%3 != 0
						token := fmt.Sprintf("live%d", i)
						if !live {
							token = fmt.Sprintf("gone%d", i)
						}
						row, took, err := askBatcher(b, token)
						if err != nil || (row != nil) != live || row != nil && row.UserID != token {
							t.Errorf("%s: %v, %v after %s", token, row, err, took)
						}
					})
				}
				checks.Wait()
				if n := b.Asking.Load(); n != 0 {
					t.Errorf("%d still ask", n)
				}
			})
		})
	}
	t.Run("a panic is an error of its batch alone", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			b, stop := startBatcher(t, panicking(), newFakeLink(time.Millisecond))
			defer stop()
			faults := 0
			for i := range 100 {
				if _, _, err := askBatcher(b, fmt.Sprint("live", i)); err != nil {
					faults++
				}
			}
			if faults > 1 {
				t.Errorf("%d of 100 checks failed, want at most the one whose query panicked", faults)
			}
		})
	})
}

// A question that was asked is asked of a query that begins later; answers to other questions, or to those before,
// are none.
func TestAnswersAreToLaterQueries(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		link := newFakeLink(30 * time.Millisecond)
		b, stop := startBatcher(t, link, newFakeLink(-1))
		defer stop()
		var checks sync.WaitGroup
		for i := range 300 {
			checks.Go(func() {
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
				ctx, cancel := context.WithTimeout(context.Background(), testBudget)
				defer cancel()
				arrived := time.Now()
				l, err := b.Ask(ctx, "live")
				if err != nil || l == nil || l.Err != nil {
					t.Errorf("%v %v", l, err)
				} else if l.Began.Before(arrived) {
					t.Errorf("answered by a query that began %s before its check", arrived.Sub(l.Began))
				}
			})
		}
		checks.Wait()
	})
}

// An error that is the question's is the answer, at once, and costs no connection.
func TestErrorOfTheQuestionIsTheAnswer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		link := &fakeLink{fails: errors.New("permission denied"), interrupted: make(chan struct{}, 8)}
		b, stop := startBatcher(t, link)
		defer stop()
		for range 3 {
			if _, took, err := askBatcher(b, "live"); err == nil || err.Error() != "permission denied" || took > 0 {
				t.Errorf("%v after %s", err, took)
			}
		}
	})
}

// While PostgreSQL is slow for all, asking elsewhere does not add to its load by more than a bounded share.
func TestHedgingIsBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		links := []*fakeLink{newFakeLink(300 * time.Millisecond), newFakeLink(300 * time.Millisecond), newFakeLink(300 * time.Millisecond), newFakeLink(300 * time.Millisecond)}
		b, stop := startBatcher(t, links[0], links[1], links[2], links[3])
		defer stop()
		var checks sync.WaitGroup
		for i := range 400 {
			checks.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				if row, took, err := askBatcher(b, "live"); err != nil || row == nil {
					_ = took
				}
			})
		}
		checks.Wait()
		asked := 0
		for _, l := range links {
			for _, tokens := range l.asked {
				asked += len(tokens)
			}
		}
		if asked > 400+400/4 {
			t.Errorf("%d questions for 400 checks", asked)
		}
	})
}

// What waits when nothing can be asked any more is answered at once, and so is what comes then, until there is a
// connection.
func TestFailureIsToldAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := NewBatcher[*Row](testBudget, 1)
		down := errors.New("down")
		go func() {
			time.Sleep(50 * time.Millisecond)
			b.Fail(down)
		}()
		if _, took, err := askBatcher(b, "live"); err != down || took != 50*time.Millisecond {
			t.Errorf("%v after %s", err, took)
		}
		if _, took, err := askBatcher(b, "live"); err != down || took != 0 {
			t.Errorf("%v after %s", err, took)
		}
		b.Succeed()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.Serve(ctx, newFakeLink(time.Millisecond), nil)
		if row, _, err := askBatcher(b, "live"); err != nil || row == nil {
			t.Errorf("%v %v", row, err)
		}
	})
}

// Questions that kill each connection are given up after a bounded number of attempts.
func TestQuestionThatKillsConnections(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := NewBatcher[*Row](testBudget, 2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		served := 0
		go func() {
			for ctx.Err() == nil {
				b.Serve(ctx, &fakeLink{dies: true, interrupted: make(chan struct{}, 8)}, nil)
				served++
			}
		}()
		if _, took, err := askBatcher(b, "live"); err == nil || took >= testBudget {
			t.Errorf("%v after %s", err, took)
		}
		synctest.Wait()
		if served > 8 {
			t.Errorf("%d connections for one question", served)
		}
	})
}

// A question that makes a query fail fails alone, and a fault that no question causes is not asked for again and again.
func TestAQuestionAtFaultFailsAlone(t *testing.T) {
	ask := func(t *testing.T, links ...Link[*Row]) (failed []string) {
		b, stop := startBatcher(t, links...)
		defer stop()
		var mu sync.Mutex
		var checks sync.WaitGroup
		for i := range 256 {
			checks.Go(func() {
				token := fmt.Sprint("live", i)
				if i%100 == 50 {
					token += "odd"
				}
				row, took, err := askBatcher(b, token)
				if err != nil {
					mu.Lock()
					failed = append(failed, token)
					mu.Unlock()
				} else if row == nil || row.UserID != token {
					t.Errorf("%s: %v after %s", token, row, took)
				}
			})
		}
		checks.Wait()
		slices.Sort(failed)
		return failed
	}
	want := []string{"live150odd", "live250odd", "live50odd"}
	t.Run("one link", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			link := newFakeLink(time.Millisecond)
			link.odd = "odd"
			if failed := ask(t, link); !slices.Equal(failed, want) {
				t.Errorf("%d questions failed, want %v", len(failed), want)
			}
			if n := len(link.asked); n > 60 {
				t.Errorf("%d queries", n)
			}
		})
	})
	t.Run("beside silent links", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			link := newFakeLink(time.Millisecond)
			link.odd = "odd"
			if failed := ask(t, newFakeLink(-1), newFakeLink(-1), link); !slices.Equal(failed, want) {
				t.Errorf("%d questions failed, want %v", len(failed), want)
			}
		})
	})
	t.Run("not by the questions", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			link := newFakeLink(time.Millisecond)
			link.fails = errors.New("permission denied")
			if failed := ask(t, link); len(failed) != 256 {
				t.Errorf("%d questions failed, want all", len(failed))
			}
			if n := len(link.asked); n > 10 {
				t.Errorf("%d queries, want one or two a batch", n)
			}
		})
	})
}
