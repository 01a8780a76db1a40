package extauthz

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/decide"
)

// zoneRow is what a rotation of keys came to for so many replicas.
type zoneRow struct {
	replicas             int
	limit                int
	usual                int           // most fetches in any second of ten quiet minutes
	checked, unavailable int           // checks of tokens by the new key, and those that were answered with 503
	last                 time.Duration // until each replica knew the new key
	most                 int           // fetches in the busiest second of the rotation
	refused              int           // of them by the rate limit
}

// rotate runs so many replicas' key sets in made-up time, each with its own jitter, has the issuer rotate its key, and sends each replica tokens by the
// new one, as its users get them.
func rotate(t *testing.T, replicas, limit int) (row zoneRow) {
	row = zoneRow{replicas: replicas, limit: limit}
	bubble.Test(t, func(t *testing.T) {
		s := signers()
		issuer := &limitedIssuer{limit: limit}
		issuer.set(s["es256"].jwk(nil))
		var authorizers []*Authorizer
		for range replicas {
			authorizers = append(authorizers, runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, Now: time.Now, budget: decide.TimeBudget}))
			time.Sleep(time.Minute / time.Duration(replicas)) // they did not start in one instant
		}
		time.Sleep(2 * time.Minute)
		quiet := time.Now()
		time.Sleep(10 * time.Minute)
		row.usual = busiest(issuer.since(quiet), time.Second)
		rotated := time.Now()
		issuer.mu.Lock()
		issuer.refused = 0
		issuer.mu.Unlock()
		issuer.set(s["es256"].jwk(nil), s["ed"].jwk(nil))
		token := s["ed"].issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}))
		var mu sync.Mutex
		var work sync.WaitGroup
		for i, a := range authorizers {
			work.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Second / time.Duration(replicas)) // the first new tokens reach the replicas within five seconds
				for {
					d := judgeOne(t, a, token, false)
					mu.Lock()
					row.checked++
					if d.Denial != nil && d.Denial.Status() == http.StatusServiceUnavailable {
						row.unavailable++
					} else if d.Denial != nil {
						t.Errorf("a good token is refused: %v", d.Denial)
					}
					if d.Denial == nil {
						row.last = max(row.last, time.Since(rotated))
					}
					mu.Unlock()
					if d.Denial == nil || time.Since(rotated) > 10*time.Minute {
						return
					}
					time.Sleep(time.Second) // as Retry-After says
				}
			})
		}
		work.Wait()
		row.most, row.refused = busiest(issuer.since(rotated), time.Second), issuer.refused
	})
	return row
}

// A thousand replicas, each with its own timers, behind Better Auth's rate limit for one address and behind a cache without one: fetches are spread, and a
// rotation of keys is learnt by all without a valid token being called invalid. docs/zones.md has the rows.
func TestRotationAcrossReplicas(t *testing.T) {
	type group struct{ replicas, limit int }
	for _, row := range sized([]group{{10, 100}, {100, 100}, {1000, 100}, {1000, 0}}, []group{{10, 100}, {100, 100}, {200, 0}}) {
		r := rotate(t, row.replicas, row.limit)
		limit := "none"
		if r.limit > 0 {
			limit = fmt.Sprintf("%d in 10 s", r.limit)
		}
		t.Logf("| %d | %s | %d | %d | %d | %d of %d | %.1f s |", r.replicas, limit, r.usual, r.most, r.refused, r.unavailable, r.checked, r.last.Seconds())
		if mean := r.replicas * 64 / 3600; (r.limit == 0 || r.limit*6 > r.replicas) && r.usual > 3*mean+14 { // a fetch in 57 s, on average
			t.Errorf("%d replicas fetch %d times in a quiet second: they are not spread", r.replicas, r.usual)
		}
		if r.last == 0 || r.last > 5*time.Minute {
			t.Errorf("%d replicas know the new key after %s", r.replicas, r.last)
		}
	}
}
