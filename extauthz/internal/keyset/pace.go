package keyset

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"extauthz/extauthz/internal/keyset/jwks"
)

// Better Auth counts the requests of one address for its JWKS and refuses those past a hundred. Its count starts anew
// only after ten seconds without any (its own stores for memory and database), or every ten seconds (secondary
// storage). Replicas behind one address share the count and know nothing of each other, and anybody can make each of
// them fetch by a made-up kid. So these fetches come from a small bucket: a rotation finds it full, and a flood gets
// what it refills. The last of the bucket is kept for kids that are new: clients that go on sending tokens by a
// withdrawn key do not hold up a rotation. Ten replicas under a flood make 80 fetches in its first ten seconds and 34
// in any later ones.
const (
	// between two fetches while all is well, less up to a tenth, so that no Retry-After holds one back
	RefreshInterval = jwks.MaxRetryAfter
	RetryInterval   = 2 * time.Second        // between two fetches while the issuer fails, less up to a half
	FetchSpacing    = 250 * time.Millisecond // between the starts of any two fetches
	fetchBurst      = 5                      // fetches for unknown kids that the bucket holds
	FetchRefill     = 3 * time.Second        // until the bucket gets one back
	fetchReserve    = 3                      // of them, not for kids that a fetch has shown to be unknown before
	calmSpread      = 15 * time.Second       // after it, refreshes of many replicas are spread over so long
	askedSpread     = time.Second            // and fetches for unknown kids, for which checks wait, over so long
)

// fetchPace says when the next fetch may begin. It is used by one goroutine alone.
type fetchPace struct {
	refill time.Duration // FetchRefill, except in tests
	full   time.Time     // when the bucket is full again
	last   time.Time     // when the last fetch began
	calmAt time.Time     // not before this time, by the issuer's Retry-After; zero for none
	failed bool          // whether the last fetch did
	asked  bool          // whether the last fetch was for an unknown kid
}

// began records that a fetch begins; asked tells that it is for an unknown kid and not one that was due.
func (p *fetchPace) began(now time.Time, asked bool) {
	p.last, p.asked, p.calmAt = now, asked, time.Time{}
	if asked {
		if p.full.Before(now) {
			p.full = now
		}
		p.full = p.full.Add(p.refill)
	}
}

// ended records what came of it. A fetch that brought a new key was no stranger's work and costs nothing.
func (p *fetchPace) ended(now time.Time, failed, isFruitful bool, retryAfter time.Duration) {
	p.failed = failed
	if p.asked && isFruitful {
		p.full = p.full.Add(-p.refill)
	}
	if retryAfter > 0 {
		p.calmAt = now.Add(retryAfter + rand.N(askedSpread))
		// One fetch is allowed then, and not a burst: the other replicas come back at that time, too.
		p.full = p.calmAt.Add((fetchBurst - 1) * p.refill)
	}
}

// calm is how long the issuer still wants to be left alone.
func (p *fetchPace) calm(now time.Time) time.Duration { return max(p.calmAt.Sub(now), 0) }

// untilSpaced is the time until the fetch that an operator asked for.
func (p *fetchPace) untilSpaced(now time.Time) time.Duration {
	return max(p.last.Add(FetchSpacing).Sub(now), 0)
}

// untilAsked is the time until a fetch for an unknown kid may begin; isNew tells that no fetch has been in vain for it.
func (p *fetchPace) untilAsked(now time.Time, isNew bool) time.Duration {
	spent := time.Duration(fetchBurst - 1)
	if !isNew {
		spent -= fetchReserve
	}
	return max(p.full.Add(-spent*p.refill).Sub(now), p.untilSpaced(now), p.calm(now))
}

// untilDue is the time until the next fetch that nobody asks for, with jitter so that replicas spread out.
func (p *fetchPace) untilDue(now time.Time) time.Duration {
	switch {
	case p.calm(now) > 0:
		return FetchSpacing + p.calm(now) + rand.N(calmSpread)
	case p.failed:
		return RetryInterval - rand.N(RetryInterval/2)
	}
	return RefreshInterval - rand.N(RefreshInterval/10)
}

// maxVainKids bounds the kids that are known to be in vain. When they are that many, they are forgotten.
const maxVainKids = 1 << 12

// vainKids are kids that a fetch has shown to be unknown. Nothing is refused by them: they only wait longer for the
// next fetch. Safe for concurrent use.
type vainKids struct {
	mu    sync.Mutex
	seed  maphash.Seed
	known map[uint64]struct{} // hashes, since a kid may be as long as a token
}

func newVainKids() *vainKids {
	return &vainKids{seed: maphash.MakeSeed(), known: map[uint64]struct{}{}}
}

func (v *vainKids) add(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxVainKids {
		clear(v.known)
	}
	v.known[maphash.String(v.seed, id)] = struct{}{}
}

func (v *vainKids) has(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, known := v.known[maphash.String(v.seed, id)]
	return known
}
