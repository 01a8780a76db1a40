package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	refreshInterval = time.Minute            // between two fetches while all is well, less up to a tenth
	retryInterval   = 2 * time.Second        // between two fetches while the issuer fails, less up to a half
	fetchSpacing    = 250 * time.Millisecond // between the starts of any two fetches: four a second at most
	fetchTimeout    = 3 * time.Second        // of one fetch, from its start to the last byte
	maxKeySetAge    = 24 * time.Hour         // how long keys count while the issuer cannot be reached
	maxAwaiting     = 1 << 12                // checks that wait for a fetch; past it they are answered with 503 at once
	maxDocument     = 1 << 20                // bytes of a JWKS document
	maxRetryAfter   = 5 * time.Minute        // the longest that an issuer's Retry-After is believed
	calmSpread      = 15 * time.Second       // past it replicas come back spread over so long, and not all in its first moment
)

// keySet is the issuer's keys as one fetch brought them. It is never changed, only replaced.
type keySet struct {
	keys    map[string]*key
	fetched time.Time // when the fetch began
}

// remoteKeySet keeps the current key set of one issuer (RFC 7517) and fetches it: every minute, and
// when a check meets a kid that it does not know. All methods are safe for concurrent use.
type remoteKeySet struct {
	url     string
	shown   string // the URL for messages, without its query, where people put keys
	client  *http.Client
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	tracing *tracing
	state   partState

	awaiting atomic.Int64           // checks that wait for a fetch
	current  atomic.Pointer[keySet] // nil until the first fetch succeeds

	mu      sync.Mutex
	waiting *fetch // collects the checks that wait for a fetch which has not begun; guarded by mu

	wanted chan struct{} // wakes run; whether somebody waits is said by waiting.joined
	failed bool          // whether the last fetch did; run's alone
	calmAt time.Time     // not before this time, by the issuer's Retry-After; run's alone
}

// fetch is one request to the issuer, shared by all who waited for it to begin.
type fetch struct {
	joined bool // somebody waits for it; guarded by remoteKeySet.mu
	done   chan struct{}
	err    error     // why it brought no key set; valid once done is closed
	began  time.Time // and ended, for traces; valid once done is closed, and zero when it never began
	ended  time.Time
}

func newRemoteKeySet(url string, client *http.Client, now func() time.Time, log *slog.Logger, metrics *metrics, tracing *tracing) *remoteKeySet {
	shown, _, _ := strings.Cut(url, "?")
	return &remoteKeySet{state: partState{since: time.Now()}, url: url, shown: shown, client: client, now: now, log: log, metrics: metrics, tracing: tracing, waiting: newFetch(), wanted: make(chan struct{}, 1)}
}

func newFetch() *fetch { return &fetch{done: make(chan struct{})} }

// key returns the issuer's key of that id, or nil when the issuer has none. A known id is answered
// from memory; an unknown one by a fetch that begins after this call, which the checks that come
// in the meantime share. The error is a *Denial with status 503: the keys could not be had in time.
func (s *remoteKeySet) key(ctx context.Context, id string) (*key, error) {
	set := s.current.Load()
	if set != nil && s.now().Sub(set.fetched) < maxKeySetAge {
		if known := set.keys[id]; known != nil {
			return known, nil
		}
	}
	if err := s.await(ctx); err != nil {
		return nil, err
	}
	return s.current.Load().keys[id], nil
}

// isCurrent tells whether the issuer still lists this very key, by what is known without asking.
func (s *remoteKeySet) isCurrent(k *key, now time.Time) bool {
	set := s.current.Load()
	return set != nil && set.keys[k.id] == k && now.Sub(set.fetched) < maxKeySetAge
}

// await joins the next fetch and waits for its end.
func (s *remoteKeySet) await(ctx context.Context) error {
	defer s.awaiting.Add(-1)
	if s.awaiting.Add(1) > maxAwaiting {
		return unavailable(ReasonOverloaded, errors.New("too many checks wait for the JWKS"))
	}
	asked := s.tracing.now()
	s.mu.Lock()
	next := s.waiting
	next.joined = true
	s.mu.Unlock()
	select {
	case s.wanted <- struct{}{}:
	default: // run is woken already
	}
	select {
	case <-next.done:
		s.tracing.fetched(ctx, next.began, next.ended, s.shown, next.err)
		if next.err != nil {
			return unavailable(ReasonJWKSUnavailable, fmt.Errorf("fetching %s: %w", s.shown, next.err))
		}
		return nil
	case <-ctx.Done():
		s.tracing.fetched(ctx, asked, s.tracing.now(), s.shown, ctx.Err())
		return givenUp(ctx, "the JWKS")
	}
}

// refresh has a fetch begin soon.
func (s *remoteKeySet) refresh() {
	s.mu.Lock()
	s.waiting.joined = true
	s.mu.Unlock()
	select {
	case s.wanted <- struct{}{}:
	default: // run is woken already
	}
}

// run fetches until the context ends. It alone fetches, one at a time and under its own context, so
// that no client's impatience or flood reaches the issuer.
func (s *remoteKeySet) run(ctx context.Context) {
	for ctx.Err() == nil {
		started := time.Now()
		s.calmAt = time.Time{}
		s.fetchOnce(ctx)
		s.rest(ctx, started)
	}
	s.take().end(errors.New("shutting down"))
}

// rest waits for the next fetch to be due: by the clock, or because a check waits for one and the
// last one, which started then, is far enough away.
func (s *remoteKeySet) rest(ctx context.Context, started time.Time) {
	refresh := time.NewTimer(s.pause())
	defer refresh.Stop()
	spacing := time.NewTimer(fetchSpacing - time.Since(started))
	defer spacing.Stop()
	var wanted chan struct{} // nil, so never ready, until the spacing is over
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			return
		case <-spacing.C:
			wanted = s.wanted
		case <-wanted:
			if !s.isAwaited() {
				continue // woken for a fetch that has been
			}
			calm := time.Until(s.calmAt)
			if calm <= 0 {
				return
			}
			s.take().end(fmt.Errorf("the issuer asked to be left alone for another %s", calm.Round(time.Second)))
		}
	}
}

// pause is the time until the next fetch that nobody asked for, jittered so that replicas spread out.
func (s *remoteKeySet) pause() time.Duration {
	if calm := time.Until(s.calmAt); calm > 0 {
		return fetchSpacing + calm + rand.N(calmSpread)
	}
	if s.failed {
		return retryInterval - rand.N(retryInterval/2)
	}
	return refreshInterval - rand.N(refreshInterval/10)
}

// take returns the fetch that collects those who wait and lets later ones join the next.
func (s *remoteKeySet) take() *fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.waiting
	s.waiting = newFetch()
	return taken
}

// isAwaited tells whether a check waits for the next fetch.
func (s *remoteKeySet) isAwaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.joined
}

// end gives the outcome to all who joined the fetch.
func (f *fetch) end(err error) {
	f.err = err
	close(f.done)
}

// fetchOnce replaces the key set, or keeps it and says in the log why.
func (s *remoteKeySet) fetchOnce(ctx context.Context) {
	current := s.take() // whoever joined before this line came before the fetch
	began := s.now()
	current.began = time.Now()
	keys, result, err := s.get(ctx)
	current.ended = time.Now()
	s.metrics.fetches.WithLabelValues(result).Inc()
	s.metrics.fetchDuration.Observe(current.ended.Sub(current.began).Seconds())
	s.state.note(err)
	if err == nil {
		s.logChange(keys)
		if earlier := s.current.Load(); earlier != nil {
			keepKnown(keys, earlier.keys)
		}
		for _, key := range keys {
			if key.since.IsZero() {
				key.since = began
			}
		}
		s.current.Store(&keySet{keys: keys, fetched: began})
	} else if ctx.Err() == nil && !s.failed {
		s.log.Warn("JWKS fetch failed; trying again", "url", s.shown, "error", err)
	}
	s.failed = err != nil
	current.end(err)
}

// keepKnown puts the earlier set's key in place of one that is the same, so that the same key is the
// same pointer as long as the issuer lists it, and is another when it changes in anything.
func keepKnown(keys, earlier map[string]*key) {
	for id, key := range keys {
		if known := earlier[id]; known != nil && (known.equal(key) || key.fault != "" && key.fault == known.fault) {
			keys[id] = known
		}
	}
}

// logChange says once what a new key set brings.
func (s *remoteKeySet) logChange(keys map[string]*key) {
	var earlier map[string]*key
	if set := s.current.Load(); set != nil {
		earlier = set.keys
	}
	changed := earlier == nil || len(earlier) != len(keys) || s.failed
	for id, key := range keys {
		known := earlier[id]
		changed = changed || known == nil
		if key.fault != "" && (known == nil || known.fault == "") {
			s.log.Warn("JWKS key ignored", "kid", clip(id), "fault", key.fault)
		}
	}
	if changed {
		s.log.Info("JWKS fetched", "url", s.shown, "keys", len(keys))
	}
}

// age is how long ago the current key set was fetched; a negative one while there is none.
func (s *remoteKeySet) age() time.Duration {
	set := s.current.Load()
	if set == nil {
		return -time.Second
	}
	return s.now().Sub(set.fetched)
}

// list describes the current keys, ordered by id, and when they were fetched; none while there is no key set.
func (s *remoteKeySet) list() (keys []Key, fetched time.Time) {
	set := s.current.Load()
	if set == nil {
		return nil, time.Time{}
	}
	for _, k := range set.keys {
		keys = append(keys, Key{ID: k.id, Algorithm: k.algorithm, Fault: k.fault, Since: k.since})
	}
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	return keys, set.fetched
}

// usable is the number of keys that may verify tokens.
func (s *remoteKeySet) usable() (count int) {
	if set := s.current.Load(); set != nil {
		for _, key := range set.keys {
			if key.fault == "" {
				count++
			}
		}
	}
	return count
}

// get fetches the document once, and tells the result for the metrics. It reads no more than maxDocument bytes and follows redirects
// within the origin only.
func (s *remoteKeySet) get(ctx context.Context) (keys map[string]*key, result string, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, resultInvalid, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "extauthz/"+Version)
	response, err := s.client.Do(request)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // the log names the URL already
		}
		return nil, resultUnreachable, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		s.calmAt = time.Now().Add(retryAfter(response))
		return nil, resultStatus, fmt.Errorf("status %d", response.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return nil, resultUnreachable, fmt.Errorf("reading the answer: %w", err)
	}
	if len(document) > maxDocument {
		return nil, resultInvalid, fmt.Errorf("the answer is longer than %d bytes", maxDocument)
	}
	keys, err = parseKeys(document)
	if err != nil {
		return nil, resultInvalid, err
	}
	return keys, resultOK, nil
}

// retryAfter is how long a failing issuer wants to be left alone: Retry-After (RFC 9110 §10.2.3), or
// X-Retry-After, which is what Better Auth's own rate limit sends.
func retryAfter(response *http.Response) time.Duration {
	for _, name := range []string{"Retry-After", "X-Retry-After"} {
		value := response.Header.Get(name)
		if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
			return min(time.Duration(seconds)*time.Second, maxRetryAfter)
		}
		if date, err := http.ParseTime(value); err == nil {
			return min(max(time.Until(date), 0), maxRetryAfter)
		}
	}
	return 0
}

// newJWKSClient returns the HTTP client for the key set: no proxy from the environment, no cookies,
// redirects within the same origin only.
func newJWKSClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if first := via[0].URL; request.URL.Scheme != first.Scheme || request.URL.Host != first.Host {
				return fmt.Errorf("it redirects to another origin, %s://%s", request.URL.Scheme, request.URL.Host)
			}
			if len(via) > 3 {
				return errors.New("it redirects too often")
			}
			return nil
		},
	}
}
