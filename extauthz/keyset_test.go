package extauthz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
)

// fakeIssuer stands for the network and the issuer behind it, so that time can be made up: real time
// would make these tests last a day.
type fakeIssuer struct {
	mu      sync.Mutex
	keys    []map[string]any
	answer  func(*http.Request) (*http.Response, error) // in place of the keys, when set
	fetches []time.Time
}

func (f *fakeIssuer) RoundTrip(request *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.fetches = append(f.fetches, time.Now())
	answer := f.answer
	document, err := json.Marshal(map[string]any{"keys": f.keys})
	f.mu.Unlock()
	if answer != nil {
		return answer(request)
	}
	return httpAnswer(http.StatusOK, document), err
}

func httpAnswer(status int, body []byte) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
}

func (f *fakeIssuer) set(keys ...map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = append([]map[string]any{}, keys...) // [] and not null
}

func (f *fakeIssuer) setAnswer(answer func(*http.Request) (*http.Response, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeIssuer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.fetches)
}

func refuseConnection(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

func hang(request *http.Request) (*http.Response, error) {
	<-request.Context().Done()
	return nil, request.Context().Err()
}

// withIssuer runs a test in made-up time, against an Authorizer whose issuer is the fake one.
func withIssuer(t *testing.T, issuer *fakeIssuer, test func(t *testing.T, a *Authorizer)) {
	bubble.Test(t, func(t *testing.T) {
		a := runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, Now: time.Now, budget: decide.TimeBudget})
		synctest.Wait()
		test(t, a)
	})
}

// decideToken checks a fresh token of the signer's and returns the reason, empty when allowed.
func decideToken(t *testing.T, a *Authorizer, s signer, id string) Reason {
	t.Helper()
	s.id = id
	token := s.issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Unix() + 900}))
	started := time.Now()
	response, err := a.Check(t.Context(), bearerRequest(token))
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > decide.TimeBudget {
		t.Errorf("the check took %s, more than its budget", took)
	}
	return Reason(response.GetDynamicMetadata().GetFields()["reason"].GetStringValue())
}

func expectReason(t *testing.T, got, want Reason) {
	t.Helper()
	if got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

func TestUnknownKeyIsFetched(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		time.Sleep(time.Second)
		issuer.set(ed.jwk(nil), ed.jwk(map[string]any{"kid": "rotated"}))
		expectReason(t, decideToken(t, a, ed, "rotated"), "")
		if got := issuer.count(); got != 2 {
			t.Errorf("%d fetches, want 2: at the start, and for the unknown kid", got)
		}
		expectReason(t, decideToken(t, a, ed, "rotated"), "")
		expectReason(t, decideToken(t, a, ed, "ed"), "")
		if got := issuer.count(); got != 2 {
			t.Errorf("%d fetches, want no more for known kids", got)
		}
	})
}

// An unknown kid is judged by a fetch that began after its check arrived: one that was under way may
// have asked too early.
func TestUnknownKeyIsNotJudgedByAnEarlierFetch(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		time.Sleep(time.Second)
		old, err := json.Marshal(map[string]any{"keys": []map[string]any{ed.jwk(nil)}})
		if err != nil {
			t.Fatal(err)
		}
		issuer.setAnswer(func(*http.Request) (*http.Response, error) {
			time.Sleep(200 * time.Millisecond) // answers late with what it had at the start
			return httpAnswer(200, old), nil
		})
		var first sync.WaitGroup
		first.Go(func() { expectReason(t, decideToken(t, a, ed, "made-up"), ReasonUnknownKey) })
		synctest.Wait() // that fetch is under way
		issuer.set(ed.jwk(nil), ed.jwk(map[string]any{"kid": "rotated"}))
		issuer.setAnswer(nil)
		expectReason(t, decideToken(t, a, ed, "rotated"), "")
		first.Wait()
	})
}

func TestFetchesAreSharedAndBounded(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		time.Sleep(time.Second)
		before := issuer.count()
		var flood sync.WaitGroup
		for second := range 10 {
			for i := range 100 {
				flood.Go(func() {
					expectReason(t, decideToken(t, a, ed, fmt.Sprintf("made-up-%d-%d", second, i)), ReasonUnknownKey)
				})
			}
			expectReason(t, decideToken(t, a, ed, "ed"), "") // nobody else is held up
			time.Sleep(100 * time.Millisecond)
		}
		flood.Wait()
		if got := issuer.count() - before; got < 2 || got > 6 {
			t.Errorf("%d fetches for 1,000 made-up kids in about a second, want at most four a second", got)
		}
		issuer.mu.Lock()
		defer issuer.mu.Unlock()
		for i := 1; i < len(issuer.fetches); i++ {
			if gap := issuer.fetches[i].Sub(issuer.fetches[i-1]); gap < keyset.FetchSpacing {
				t.Errorf("fetch %d came %s after the one before", i, gap)
			}
		}
	})
}

func TestBadSignatureCausesNoFetch(t *testing.T) {
	issuer := &fakeIssuer{keys: testKeys()}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		for range 50 {
			expectReason(t, decideToken(t, a, signers()["stranger"], "ed"), ReasonBadSignature)
			expectReason(t, decideToken(t, a, signers()["weak"], "weak"), ReasonUnusableKey)
		}
		if got := issuer.count(); got != 1 {
			t.Errorf("%d fetches, want the first only", got)
		}
	})
}

func TestWithdrawnKeyStops(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		expectReason(t, decideToken(t, a, ed, "ed"), "")
		issuer.set() // {"keys":[]} is what Better Auth answers when all keys are past
		time.Sleep(keyset.RefreshInterval)
		expectReason(t, decideToken(t, a, ed, "ed"), ReasonUnknownKey)
	})
}

func TestRefreshIsJittered(t *testing.T) {
	issuer := &fakeIssuer{keys: testKeys()}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		time.Sleep(time.Hour)
		if got := issuer.count(); got < 60 || got > 68 {
			t.Errorf("%d fetches in an hour, want one a minute", got)
		}
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(issuer.fetches); i++ {
			gaps[issuer.fetches[i].Sub(issuer.fetches[i-1])] = true
		}
		if len(gaps) < 10 {
			t.Errorf("only %d different pauses in an hour: the jitter is missing", len(gaps))
		}
	})
}

func TestJWKSNeverFetched(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{answer: refuseConnection}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		expectReason(t, decideToken(t, a, ed, "ed"), ReasonJWKSUnavailable)
		if missing := a.Missing(); len(missing) != 1 || missing[0] != "jwks" {
			t.Errorf("missing %v, want jwks", missing)
		}
		issuer.setAnswer(nil)
		issuer.set(ed.jwk(nil))
		time.Sleep(keyset.RetryInterval) // it recovers without being asked
		if missing := a.Missing(); len(missing) != 0 {
			t.Errorf("missing %v after the issuer came", missing)
		}
		expectReason(t, decideToken(t, a, ed, "ed"), "")
	})
}

func TestIssuerHangs(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		time.Sleep(time.Second)
		issuer.setAnswer(hang)
		expectReason(t, decideToken(t, a, ed, "made-up"), ReasonTimeBudgetSpent)
		expectReason(t, decideToken(t, a, ed, "ed"), "")

		// The caller's own deadline counts when it is nearer.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		started := time.Now()
		response, err := a.Check(ctx, bearerRequest(signer{"EdDSA", "made-up", ed.private}.issue(goodClaims(nil))))
		if err != nil {
			t.Fatal(err)
		}
		expectDenial(t, response, ReasonTimeBudgetSpent)
		if took := time.Since(started); took >= 100*time.Millisecond {
			t.Errorf("it took %s, past the caller's deadline", took)
		}
	})
}

func TestKeysAreKeptForADay(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		issuer.setAnswer(refuseConnection)
		time.Sleep(keyset.MaxKeySetAge - time.Minute)
		expectReason(t, decideToken(t, a, ed, "ed"), "")
		expectReason(t, decideToken(t, a, ed, "made-up"), ReasonJWKSUnavailable)
		time.Sleep(2 * time.Minute)
		expectReason(t, decideToken(t, a, ed, "ed"), ReasonJWKSUnavailable)
		issuer.setAnswer(nil)
		time.Sleep(keyset.RetryInterval)
		expectReason(t, decideToken(t, a, ed, "ed"), "")
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	ed := signers()["ed"]
	for name, value := range map[string]func() string{
		"X-Retry-After":       func() string { return "10" },
		"Retry-After":         func() string { return "10" },
		"Retry-After as date": func() string { return time.Now().Add(10 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
			withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
				time.Sleep(time.Second)
				issuer.setAnswer(func(*http.Request) (*http.Response, error) {
					answer := httpAnswer(http.StatusTooManyRequests, nil)
					answer.Header.Set(strings.TrimSuffix(name, " as date"), value())
					return answer, nil
				})
				expectReason(t, decideToken(t, a, ed, "made-up"), ReasonJWKSUnavailable)
				before := issuer.count()
				for range 9 {
					time.Sleep(time.Second)
					expectReason(t, decideToken(t, a, ed, "made-up"), ReasonJWKSUnavailable)
					expectReason(t, decideToken(t, a, ed, "ed"), "")
				}
				if got := issuer.count() - before; got != 0 {
					t.Errorf("%d fetches while the issuer wanted to be left alone", got)
				}
				issuer.setAnswer(nil)
				time.Sleep(2*time.Second + keyset.RetryInterval)
				expectReason(t, decideToken(t, a, ed, "made-up"), ReasonUnknownKey)
			})
		})
	}
}

// What is not a JWKS leaves the keys as they were, and an unknown kid is an outage, not a refusal.
func TestBadAnswersKeepTheKeys(t *testing.T) {
	ed := signers()["ed"]
	for title, answer := range map[string]func() *http.Response{
		"HTML":            func() *http.Response { return httpAnswer(200, []byte("<!doctype html><p>Sign in")) },
		"nothing":         func() *http.Response { return httpAnswer(200, nil) },
		"truncated":       func() *http.Response { return httpAnswer(200, []byte(`{"keys":[{"kty":"OKP"`)) },
		"an array":        func() *http.Response { return httpAnswer(200, []byte(`[]`)) },
		"no keys":         func() *http.Response { return httpAnswer(200, []byte(`{}`)) },
		"keys null":       func() *http.Response { return httpAnswer(200, []byte(`{"keys":null}`)) },
		"keys an object":  func() *http.Response { return httpAnswer(200, []byte(`{"keys":{}}`)) },
		"status 500":      func() *http.Response { return httpAnswer(500, []byte(`{"keys":[]}`)) },
		"status 204":      func() *http.Response { return httpAnswer(204, nil) },
		"100 MB":          func() *http.Response { return httpAnswer(200, bytes.Repeat([]byte(" "), 100<<20)) },
		"a broken stream": func() *http.Response { return httpAnswer(200, nil) },
	} {
		t.Run(title, func(t *testing.T) {
			issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
			withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
				time.Sleep(time.Second)
				issuer.setAnswer(func(*http.Request) (*http.Response, error) {
					response := answer()
					if title == "a broken stream" {
						response.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"keys":[]`), brokenReader{}))
					}
					return response, nil
				})
				expectReason(t, decideToken(t, a, ed, "made-up"), ReasonJWKSUnavailable)
				expectReason(t, decideToken(t, a, ed, "ed"), "")
			})
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestRedirectsStayWithinTheOrigin(t *testing.T) {
	ed := signers()["ed"]
	elsewhere := serveKeys(t, []map[string]any{ed.jwk(nil)})
	for path, wantErr := range map[string]string{
		"/moved":     "",
		"/elsewhere": "redirects to another origin",
		"/loop":      "redirects too often",
	} {
		mux := http.NewServeMux()
		mux.Handle("/jwks", elsewhere.Config.Handler)
		mux.Handle("/moved", http.RedirectHandler("/jwks", http.StatusPermanentRedirect))
		mux.Handle("/elsewhere", http.RedirectHandler(elsewhere.URL, http.StatusFound))
		mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		got := jwks.New(server.URL+path, "extauthz-test", nil, nil).Get(t.Context())
		keys, err := got.Keys, got.Err
		switch {
		case wantErr == "" && (err != nil || keys["ed"] == nil):
			t.Errorf("%s: %v, want the keys", path, err)
		case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
			t.Errorf("%s: %v, want %q", path, err, wantErr)
		}
	}
}

// Of two keys with one kid the first good one counts, whatever stands before it.
// A proxy that the environment names gets no request: keys that it could change would be the issuer's.
func TestNoProxyFromTheEnvironment(t *testing.T) {
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1) }))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	// net/http reads the environment once, so the client is asked for its proxy too.
	client := jwks.NewClient(nil)
	if transport, ok := client.Transport.(*http.Transport); !ok || transport.Proxy != nil {
		t.Errorf("%+v knows a proxy", client.Transport)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://issuer.invalid/api/auth/jwks", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := client.Do(request); err == nil {
		response.Body.Close()
		t.Errorf("a host that there is not answers %d", response.StatusCode)
	}
	if asked.Load() > 0 {
		t.Error("the proxy was asked")
	}
}

func TestRepeatedKeyID(t *testing.T) {
	s := signers()
	document, err := json.Marshal(map[string]any{"keys": []any{
		s["weak"].jwk(map[string]any{"kid": "x"}), s["ed"].jwk(map[string]any{"kid": "x"}), s["rs"].jwk(map[string]any{"kid": "x"}),
		"not a key", 7, nil,
	}})
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := jwk.ParseKeys(document)
	if err != nil {
		t.Fatal(err)
	}
	if x := keys["x"]; len(keys) != 1 || x == nil || x.Algorithm != "EdDSA" {
		t.Errorf("%+v, want the Ed25519 key alone", keys)
	}
}

// A key in the JWKS URL's query is in no message.
func TestQueryOfJWKSURLIsNotShown(t *testing.T) {
	issuer := &fakeIssuer{answer: refuseConnection}
	bubble.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		a := runAuthorizer(t, Config{
			JWKSURL: "https://issuer.test/jwks?key=s3cret", Client: &http.Client{Transport: issuer}, Now: time.Now, budget: decide.TimeBudget,
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		expectReason(t, decideToken(t, a, signers()["ed"], "ed"), ReasonJWKSUnavailable)
		if text := log.String(); strings.Contains(text, "s3cret") || !strings.Contains(text, "https://issuer.test/jwks") {
			t.Errorf("the log:\n%s", text)
		}
	})
}
