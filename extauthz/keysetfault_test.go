package extauthz

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
)

// panickingBody is an answer's body that panics when it is read.
type panickingBody struct{}

func (panickingBody) Read([]byte) (int, error) { panic("a fault in a body") }
func (panickingBody) Close() error             { return nil }

// oddHandler does something with each record of the key set's, and nothing with others.
type oddHandler struct {
	slog.Handler
	odd func()
}

func (h oddHandler) Handle(_ context.Context, record slog.Record) error {
	if strings.HasPrefix(record.Message, "JWKS") {
		h.odd()
	}
	return nil
}

// A panic in an embedder's transport, in a body, in a redirect's check or in the clock is counted; who waits for that
// fetch is answered with 503 at once, known keys go on, and the next fetch comes as after any other failure.
func TestPanicWhileFetching(t *testing.T) {
	ed := signers()["ed"]
	for title, fault := range map[string]func(issuer *fakeIssuer) (heal func()){
		"the transport": func(issuer *fakeIssuer) func() {
			issuer.setAnswer(func(*http.Request) (*http.Response, error) { panic("a fault in a transport") })
			return func() { issuer.setAnswer(nil) }
		},
		"no answer and no error": func(issuer *fakeIssuer) func() {
			issuer.setAnswer(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: nilBody}, nil
			})
			return func() { issuer.setAnswer(nil) }
		},
		"the body": func(issuer *fakeIssuer) func() {
			issuer.setAnswer(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: panickingBody{}}, nil
			})
			return func() { issuer.setAnswer(nil) }
		},
		"the goroutine's end": func(issuer *fakeIssuer) func() {
			issuer.setAnswer(func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil })
			return func() { issuer.setAnswer(nil) }
		},
		"the redirect's check": func(issuer *fakeIssuer) func() {
			issuer.setAnswer(func(*http.Request) (*http.Response, error) {
				answer := httpAnswer(http.StatusFound, nil)
				answer.Header.Set("Location", "/elsewhere")
				return answer, nil
			})
			return func() { issuer.setAnswer(nil) }
		},
	} {
		t.Run(title, func(t *testing.T) {
			issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
			bubble.Test(t, func(t *testing.T) {
				registry := prometheus.NewRegistry()
				log := &lockedBuffer{}
				client := &http.Client{Transport: issuer, CheckRedirect: func(*http.Request, []*http.Request) error { panic("a fault in a check") }}
				a := runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: client, Now: time.Now, budget: decide.TimeBudget, Metrics: registry,
					Logger: slog.New(slog.NewTextHandler(log, nil))})
				time.Sleep(time.Second)
				heal := fault(issuer)
				started := time.Now()
				expectReason(t, decideToken(t, a, ed, "made-up"), ReasonJWKSUnavailable)
				if took := time.Since(started); took > 0 {
					t.Errorf("answered after %s of made-up time, want at once", took)
				}
				expectReason(t, decideToken(t, a, ed, "ed"), "")
				time.Sleep(10 * keyset.RetryInterval)
				expectReason(t, decideToken(t, a, ed, "ed"), "")
				if title != "no answer and no error" {
					if counted := testutil.ToFloat64(a.metrics.Panics.WithLabelValues(guard.InJWKS)); counted < 10 || counted > 25 {
						t.Errorf("%v panics are counted", counted)
					}
					if told := strings.Count(log.String(), "where=jwks"); told == 0 || told > keyset.MaxKeyLines {
						t.Errorf("told %d times", told)
					}
				}
				if part := a.Parts()[0]; part.OK || part.Fault == "" {
					t.Errorf("%+v, want a fault", part)
				}
				heal()
				time.Sleep(keyset.RetryInterval)
				expectReason(t, decideToken(t, a, ed, "made-up"), ReasonUnknownKey)
				if part := a.Parts()[0]; !part.OK {
					t.Errorf("%+v after the fault is gone", part)
				}
			})
		})
	}
}

var nilBody = io.NopCloser(strings.NewReader("")) // with a nil header beside it, as a careless transport answers

// A clock that panics fails checks with 503 while it does, ends neither the process nor its metrics, and leaves nothing
// behind.
func TestPanickingClock(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	bubble.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		var isBroken atomic.Bool
		a := runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, budget: decide.TimeBudget, Metrics: registry, Now: func() time.Time {
			if isBroken.Load() {
				panic("a fault in a clock")
			}
			return time.Now()
		}})
		time.Sleep(time.Second)
		expectReason(t, decideToken(t, a, ed, "ed"), "")
		isBroken.Store(true)
		expectReason(t, decideToken(t, a, ed, "ed"), ReasonInternalError)
		time.Sleep(2 * time.Minute)
		if _, err := registry.Gather(); err != nil {
			t.Error(err)
		}
		if found := a.Operator().Diagnose(t.Context()); len(found) == 0 || found[len(found)-1].Level != finding.LevelFailure {
			t.Errorf("doctor finds %+v", found)
		}
		isBroken.Store(false)
		time.Sleep(keyset.RetryInterval)
		expectReason(t, decideToken(t, a, ed, "ed"), "")
		issuer.set(ed.jwk(nil), ed.jwk(map[string]any{"kid": "rotated"}))
		expectReason(t, decideToken(t, a, ed, "rotated"), "")
		if counted := testutil.ToFloat64(a.metrics.Panics.WithLabelValues(guard.InJWKS)); counted == 0 {
			t.Error("no panic is counted")
		}
	})
}

// A Logger that blocks for ever, or panics, holds up no fetch: a withdrawn key stops, a new one is known, and the end
// comes.
func TestOddLoggerHoldsUpNoFetch(t *testing.T) {
	ed := signers()["ed"]
	for title, odd := range map[string]func(quit chan struct{}){
		"blocks": func(quit chan struct{}) { <-quit },
		"panics": func(chan struct{}) { panic("a fault in a Logger") },
	} {
		t.Run(title, func(t *testing.T) {
			issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
			bubble.Test(t, func(t *testing.T) {
				quit := make(chan struct{})
				config := Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer},
					Now: time.Now, budget: decide.TimeBudget, Logger: slog.New(oddHandler{slog.NewTextHandler(io.Discard, nil), func() { odd(quit) }})}
				a, err := New(config)
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { a.Run(ctx); close(ended) }()
				time.Sleep(time.Second)
				token := ed.issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(24 * time.Hour).Unix()}))
				for range 3 * keyset.MaxQueuedLine { // more changes than lines that are kept
					expectReason(t, checkToken(t, a, token), "")
					issuer.set(signers()["es256"].jwk(nil))
					a.Refresh()
					time.Sleep(time.Second)
					expectReason(t, checkToken(t, a, token), ReasonUnknownKey)
					issuer.set(ed.jwk(nil))
					a.Refresh()
					time.Sleep(20 * time.Second)
				}
				stop()
				started := time.Now()
				<-ended
				if took := time.Since(started); took > 2*time.Second {
					t.Errorf("the end took %s", took)
				}
				close(quit)
			})
		})
	}
}

// A client that does not look at its request's context and never comes back is a failed fetch: known keys go on, the
// end comes in time, no second one is left behind, and once it has come back fetches go on.
func TestClientThatNeverReturns(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	bubble.Test(t, func(t *testing.T) {
		a, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer},
			Now: time.Now, budget: decide.TimeBudget, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.Run(ctx); close(ended) }()
		time.Sleep(time.Second)
		quit := make(chan struct{})
		issuer.setAnswer(func(*http.Request) (*http.Response, error) { <-quit; return refuseConnection(nil) })
		expectReason(t, decideToken(t, a, ed, "made-up"), ReasonTimeBudgetSpent)
		time.Sleep(10 * time.Minute)
		expectReason(t, decideToken(t, a, ed, "ed"), "")
		if got := issuer.count(); got != 2 {
			t.Errorf("%d fetches, want the first and the one that is stuck", got)
		}
		if part := a.Parts()[0]; part.OK || !strings.Contains(part.Fault, "has not come back") {
			t.Errorf("%+v, want the fault", part)
		}
		close(quit)
		issuer.setAnswer(nil)
		time.Sleep(keyset.RetryInterval)
		expectReason(t, decideToken(t, a, ed, "made-up"), ReasonUnknownKey)

		quit = make(chan struct{})
		issuer.setAnswer(func(*http.Request) (*http.Response, error) { <-quit; return refuseConnection(nil) })
		a.Refresh()
		time.Sleep(time.Second)
		started := time.Now()
		stop()
		<-ended
		if took := time.Since(started); took > jwks.Timeout+jwks.GuardTime+keyset.LogEnd {
			t.Errorf("the end took %s", took)
		}
		close(quit)
	})
}
