package extauthz

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/keyset"
)

// limitWindow is the window of Better Auth's rate limit.
const limitWindow = 10 * time.Second

// limitedIssuer is an issuer with Better Auth's own rate limit: so many requests of an address, then 429 and when to
// come again. Its stores for memory and database begin to count anew after a window without a request that was let in,
// secondary storage at the end of each window.
type limitedIssuer struct {
	fakeIssuer
	limit    int       // 0: none, as behind a CDN
	isFixed  bool      // as secondary storage counts
	began    time.Time // of the window; with memory, the last request that was let in
	taken    int
	refused  int
	answered []time.Time
}

func (l *limitedIssuer) RoundTrip(request *http.Request) (*http.Response, error) {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.began) >= limitWindow {
		l.began, l.taken = now, 0
	}
	if l.limit > 0 && l.taken >= l.limit {
		l.refused++
		wait := limitWindow - now.Sub(l.began)
		l.mu.Unlock()
		response := httpAnswer(http.StatusTooManyRequests, nil)
		response.Header.Set("X-Retry-After", fmt.Sprint(int((wait+time.Second-1)/time.Second)))
		return response, nil
	}
	l.taken++
	if !l.isFixed {
		l.began = now
	}
	l.answered = append(l.answered, now)
	l.mu.Unlock()
	return l.fakeIssuer.RoundTrip(request)
}

// since are the answered fetches from then on.
func (l *limitedIssuer) since(from time.Time) []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.IndexFunc(l.answered, func(t time.Time) bool { return !t.Before(from) })
	if at < 0 {
		return nil
	}
	return slices.Clone(l.answered[at:])
}

// busiest is the largest number of these in any time of such a length.
func busiest(times []time.Time, length time.Duration) (most int) {
	for i := range times {
		j := i
		for j < len(times) && times[j].Sub(times[i]) < length {
			j++
		}
		most = max(most, j-i)
	}
	return most
}

// limitRow is what a flood of made-up kids came to for so many replicas behind one address, while the issuer rotated
// its key again and again.
type limitRow struct {
	replicas  int
	isFixed   bool
	most      int             // requests let in in the busiest ten seconds
	requests  int             // in all
	refused   int             // with 429
	rotations int             // of the issuer's key
	known     []time.Duration // of each rotation and replica, until a token by the new key was allowed
	wrong     int             // tokens by the new key that were called invalid
}

// flood runs so many replicas in made-up time, sends each twenty made-up kids a second, and rotates the issuer's key so
// many times meanwhile, once in 46 s. A token by each new key comes to each replica at once, and once a second until it
// is allowed.
func flood(t *testing.T, replicas, rotations int, isFixed bool) (row limitRow) {
	const rate = 20
	length := time.Duration(rotations+1) * 10 * time.Minute / 13
	row = limitRow{replicas: replicas, isFixed: isFixed, rotations: rotations}
	bubble.Test(t, func(t *testing.T) {
		s := signers()
		issuer := &limitedIssuer{limit: 100, isFixed: isFixed}
		listed := []map[string]any{s["es256"].jwk(nil)}
		issuer.set(listed...)
		var authorizers []*Authorizer
		for range replicas {
			authorizers = append(authorizers, runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, Now: time.Now, budget: decide.TimeBudget}))
			time.Sleep(time.Minute / time.Duration(replicas))
		}
		time.Sleep(time.Minute)
		began := time.Now()
		var work sync.WaitGroup
		for i, a := range authorizers {
			work.Go(func() {
				var checks sync.WaitGroup
				for n := 0; time.Since(began) < length; n++ {
					token := jwtOf(object(member("alg", "EdDSA"), member("kid", fmt.Sprintf("made-up-%d-%d", i, n))), goodClaims(nil), func([]byte) []byte { return make([]byte, 64) })
					checks.Go(func() {
						if d := judgeOne(t, a, token, false); d.Denial == nil {
							t.Error("a made-up token is allowed")
						}
					})
					time.Sleep(time.Second / rate)
				}
				checks.Wait()
			})
		}
		var mu sync.Mutex
		for n := range rotations {
			time.Sleep(length/time.Duration(rotations+1) + rand.N(5*time.Second))
			fresh := s["ed"]
			fresh.id = fmt.Sprint("rotated-", n)
			listed = append(listed, fresh.jwk(nil))
			issuer.set(listed...)
			rotated := time.Now()
			token := fresh.issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}))
			for _, a := range authorizers {
				work.Go(func() {
					for time.Since(rotated) < length {
						d := judgeOne(t, a, token, false)
						mu.Lock()
						if d.Denial == nil {
							row.known = append(row.known, time.Since(rotated))
						} else if d.Denial.Status() != http.StatusServiceUnavailable {
							row.wrong++
						}
						mu.Unlock()
						if d.Denial == nil {
							return
						}
						time.Sleep(time.Second) // as Retry-After says
					}
				})
			}
		}
		work.Wait()
		during := issuer.since(began)
		row.requests, row.most, row.refused = len(during), busiest(during, limitWindow), issuer.refused
		slices.Sort(row.known)
	})
	return row
}

// Clients that go on sending tokens by a withdrawn key do not hold up a rotation: a new key is known at once, as if
// they were not there.
func TestStaleTokensDoNotHoldUpRotations(t *testing.T) {
	ed := signers()["ed"]
	issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
	withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
		began := time.Now()
		var refused, unavailable atomic.Int64
		var stale sync.WaitGroup
		for time.Since(began) < time.Minute {
			time.Sleep(20 * time.Millisecond)
			for kid := range 3 {
				stale.Go(func() {
					switch decideToken(t, a, ed, fmt.Sprint("withdrawn-", kid)) {
					case ReasonUnknownKey:
						refused.Add(1)
					case ReasonTimeBudgetSpent:
						unavailable.Add(1)
					default:
						t.Error("neither refused nor unavailable")
					}
				})
			}
		}
		issuer.set(ed.jwk(nil), ed.jwk(map[string]any{"kid": "rotated"}))
		expectReason(t, decideToken(t, a, ed, "rotated"), "")
		stale.Wait()
		if got := issuer.count(); got > 30 {
			t.Errorf("%d fetches in a minute", got)
		}
		if refused.Load() == 0 || unavailable.Load() == 0 {
			t.Errorf("%d refused, %d unavailable", refused.Load(), unavailable.Load())
		}
	})
}

// Anybody can make each replica fetch, by made-up kids. Ten replicas behind one address stay so far below Better Auth's
// limit that a new key is known within seconds all the same, and none of its tokens is called invalid. docs/zones.md
// has the rows.
func TestFloodLeavesRoomForRotations(t *testing.T) {
	rotations := sized(12, 2) // in ten minutes, or in 138 s
	for _, isFixed := range []bool{true, false} {
		for _, replicas := range []int{1, 3, 10} {
			r := flood(t, replicas, rotations, isFixed)
			if len(r.known) != r.rotations*replicas {
				t.Fatalf("%d replicas: %d of %d times a new key was known at all", replicas, len(r.known), r.rotations*replicas)
			}
			store := map[bool]string{true: "secondary storage", false: "memory, database"}[isFixed]
			middle, last := r.known[len(r.known)/2], r.known[len(r.known)-1]
			t.Logf("| %d | %s | %d | %d | %d | %.1f s | %.1f s |", replicas, store, r.requests, r.most, r.refused, middle.Seconds(), last.Seconds())
			if r.wrong > 0 {
				t.Errorf("%d replicas: %d valid tokens are called invalid", replicas, r.wrong)
			}
			if isFixed && (r.refused > 0 || r.most > 90) {
				t.Errorf("%d replicas: %d requests in ten seconds, %d refused; want room below 100", replicas, r.most, r.refused)
			}
			// A fetch in three seconds, and after a 429 ten seconds more, one of rounding and one of spread.
			most := keyset.FetchRefill + 2*time.Second
			if !isFixed {
				most += limitWindow + 2*time.Second
			}
			if last > most {
				t.Errorf("%d replicas, %s: a new key is known after %s, want %s", replicas, store, last, most)
			}
		}
	}
}
