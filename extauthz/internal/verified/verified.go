// Package verified remembers what stays true of a token whose signature was verified, within bounds, by a digest of the
// whole token. It imports nothing of this module. It does not know what is remembered, nor what else makes a token
// good.
package verified

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// What is remembered at most, unless told otherwise: so many tokens, and so many bytes of them.
const (
	DefaultTokens = 100_000
	DefaultBytes  = 128 << 20
)

// Entry is what is remembered of one token, and where.
type Entry[T any] struct {
	Value T // never changed once it is remembered

	digest  Digest
	expires int64       // seconds since 1970
	size    uint32      // in bytes
	slot    uint32      // in its shard's ring
	used    atomic.Bool // since the sweep last came by
}

// Digest is SHA-256 of the whole token: two tokens that differ anywhere are two entries
// (GHSA-rp9m-7r4c-75qg was a key that was less).
type Digest [sha256.Size]byte

// short is what the map finds a digest by. Two digests may have it in common, which an issuer would
// have to search for; then one of the two is not remembered.
func (d *Digest) short() uint64 { return binary.LittleEndian.Uint64(d[1:]) }

// Of is the digest of a token.
func Of(token []byte) Digest { return sha256.Sum256(token) }

const (
	// Shards keeps checks that run at once from waiting for one lock. A power of two.
	Shards = 64
	// sweepSteps bounds the search for a place, per token that is to be remembered.
	sweepSteps = 16
)

// Memory remembers JWTs whose signature was verified, and never one whose was not. It is bounded by
// count and bytes. When it is full, what is expired or was not used since the last sweep gives way
// first, so that a flood of new tokens does not push out the busy ones; where all are busy, the new
// one is not remembered. All methods are safe for concurrent use; a nil memory remembers nothing.
type Memory[T any] struct {
	shards [Shards]shard[T]
	most   int // entries a shard
	bytes  int // of a shard
}

type shard[T any] struct {
	mu     sync.RWMutex
	proofs map[uint64]*Entry[T] // by digest.short; guarded by mu, as all below
	ring   []*Entry[T]
	hand   int // the sweep's next place in ring
	bytes  int
	// evicted counts those that gave way.
	evicted int
}

// New returns a memory for so many tokens and bytes, or nil when it would be for none.
func New[T any](tokens, bytes int) *Memory[T] {
	if tokens <= 0 || bytes <= 0 {
		return nil
	}
	m := &Memory[T]{most: max(1, tokens/Shards), bytes: bytes / Shards}
	for i := range m.shards {
		m.shards[i].proofs = make(map[uint64]*Entry[T])
	}
	return m
}

func (m *Memory[T]) shard(d Digest) *shard[T] { return &m.shards[d[0]%Shards] }

// Find returns the proof of the token with this digest, or nil.
func (m *Memory[T]) Find(d Digest) *Entry[T] {
	shard := m.shard(d)
	shard.mu.RLock()
	found := shard.proofs[d.short()]
	shard.mu.RUnlock()
	if found == nil || found.digest != d {
		return nil
	}
	if !found.used.Load() {
		found.used.Store(true)
	}
	return found
}

// Add remembers what was verified of the token with this digest, if there is room or can be made. size is what the
// entry takes, in bytes; from expires on it gives way first. The entry is the memory's from then on.
func (m *Memory[T]) Add(p *Entry[T], d Digest, size int, expires, now time.Time) {
	if m == nil {
		return
	}
	p.digest, p.size, p.expires = d, uint32(size), expires.Unix()
	shard := m.shard(p.digest)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.proofs[p.digest.short()] != nil {
		return // another check was quicker
	}
	for steps := 0; len(shard.ring) >= m.most || shard.bytes+size > m.bytes; steps++ {
		if len(shard.ring) == 0 || steps == sweepSteps {
			return
		}
		shard.sweep(now)
	}
	p.slot = uint32(len(shard.ring))
	shard.ring = append(shard.ring, p)
	shard.proofs[p.digest.short()] = p
	shard.bytes += size
}

// sweep looks at one entry: it gives way, or is passed over this once.
func (s *shard[T]) sweep(now time.Time) {
	if s.hand >= len(s.ring) {
		s.hand = 0
	}
	candidate := s.ring[s.hand]
	if candidate.used.Swap(false) && now.Unix() < candidate.expires {
		s.hand++
		return
	}
	s.remove(candidate)
	s.evicted++
}

// Forget removes a proof whose key is no longer the issuer's.
func (m *Memory[T]) Forget(p *Entry[T]) {
	shard := m.shard(p.digest)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.proofs[p.digest.short()] == p {
		shard.remove(p)
	}
}

func (s *shard[T]) remove(p *Entry[T]) {
	delete(s.proofs, p.digest.short())
	s.bytes -= int(p.size)
	last := len(s.ring) - 1
	moved := s.ring[last]
	s.ring[p.slot], moved.slot = moved, p.slot
	s.ring[last] = nil
	s.ring = s.ring[:last]
}

// Stats is what the memory holds, for the metrics.
type Stats struct{ Tokens, Bytes, Evicted int }

// Stats is what it holds now.
func (m *Memory[T]) Stats() (total Stats) {
	if m == nil {
		return total
	}
	for i := range m.shards {
		shard := &m.shards[i]
		shard.mu.RLock()
		total.Tokens += len(shard.ring)
		total.Bytes += shard.bytes
		total.Evicted += shard.evicted
		shard.mu.RUnlock()
	}
	return total
}
