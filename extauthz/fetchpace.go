package extauthz

import (
	"math/rand/v2"
	"time"
)

// Better Auth counts the requests of one address for its JWKS and refuses those past a hundred. Its count starts anew
// only after ten seconds without any (its own stores for memory and database), or every ten seconds (secondary
// storage). Replicas behind one address share the count and know nothing of each other, and anybody can make each of
// them fetch by a made-up kid. So these fetches come from a small bucket: a rotation finds it full, and a flood gets
// what it refills. Ten replicas under a flood make 80 fetches in its first ten seconds and 34 in any later ones.
const (
	refreshInterval = time.Minute            // between two fetches while all is well, less up to a tenth
	retryInterval   = 2 * time.Second        // between two fetches while the issuer fails, less up to a half
	fetchSpacing    = 250 * time.Millisecond // between the starts of any two fetches
	fetchBurst      = 5                      // fetches for unknown kids that the bucket holds
	fetchRefill     = 3 * time.Second        // until the bucket gets one back
	maxRetryAfter   = refreshInterval        // an issuer's Retry-After holds back no refresh that is due
	calmSpread      = 15 * time.Second       // after it, refreshes of many replicas are spread over so long
	askedSpread     = time.Second            // and fetches for unknown kids, for which checks wait, over so long
)

// fetchPace says when the next fetch may begin. It is used by one goroutine alone.
type fetchPace struct {
	full   time.Time // when the bucket is full again
	last   time.Time // when the last fetch began
	calmAt time.Time // not before this time, by the issuer's Retry-After; zero for none
	failed bool      // whether the last fetch did
	asked  bool      // whether the last fetch was for an unknown kid
}

// began records that a fetch begins; asked tells that it is for an unknown kid and not one that was due.
func (p *fetchPace) began(now time.Time, asked bool) {
	p.last, p.asked, p.calmAt = now, asked, time.Time{}
	if asked {
		if p.full.Before(now) {
			p.full = now
		}
		p.full = p.full.Add(fetchRefill)
	}
}

// ended records what came of it. A fetch that brought a new key was no stranger's work and costs nothing.
func (p *fetchPace) ended(now time.Time, failed, isFruitful bool, retryAfter time.Duration) {
	p.failed = failed
	if p.asked && isFruitful {
		p.full = p.full.Add(-fetchRefill)
	}
	if retryAfter > 0 {
		p.calmAt = now.Add(retryAfter + rand.N(askedSpread))
		// One fetch is allowed then, and not a burst: the other replicas come back at that time, too.
		p.full = p.calmAt.Add((fetchBurst - 1) * fetchRefill)
	}
}

// calm is how long the issuer still wants to be left alone.
func (p *fetchPace) calm(now time.Time) time.Duration { return max(p.calmAt.Sub(now), 0) }

// untilSpaced is the time until the fetch that an operator asked for.
func (p *fetchPace) untilSpaced(now time.Time) time.Duration {
	return max(p.last.Add(fetchSpacing).Sub(now), 0)
}

// untilAsked is the time until a fetch for an unknown kid may begin.
func (p *fetchPace) untilAsked(now time.Time) time.Duration {
	bucket := p.full.Add(-(fetchBurst - 1) * fetchRefill).Sub(now)
	return max(bucket, p.untilSpaced(now), p.calm(now))
}

// untilDue is the time until the next fetch that nobody asks for, with jitter so that replicas spread out.
func (p *fetchPace) untilDue(now time.Time) time.Duration {
	switch {
	case p.calm(now) > 0:
		return fetchSpacing + p.calm(now) + rand.N(calmSpread)
	case p.failed:
		return retryInterval - rand.N(retryInterval/2)
	}
	return refreshInterval - rand.N(refreshInterval/10)
}
