package extauthz

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/secret"
)

// proof is what stays true of a JWT whose signature was verified: whose signature it is and what the
// claims say. Whether that is enough now is judged at every use. There may be millions of them, so it
// holds nothing twice: the identity is read back from the answer when it is wanted.
type proof struct {
	answer answer // the allow, for a request that brings no identity headers
	signedBy
	issuer   string   // shared with the configuration, like audience
	audience []string // those of the token's that are ours
	times    jose.Times
	digest   digest
	slot     uint32      // in its shard's ring
	used     atomic.Bool // since the sweep last came by
	kind     Kind
}

// signedBy is what a signature was verified with: a key of the issuer's key set, or a shared secret.
type signedBy struct {
	key    *jose.Key
	secret *secret.Shared
}

// digest is SHA-256 of the whole token: two tokens that differ anywhere are two entries
// (GHSA-rp9m-7r4c-75qg was a key that was less).
type digest [sha256.Size]byte

// short is what the map finds a digest by. Two digests may have it in common, which an issuer would
// have to search for; then one of the two is not remembered.
func (d *digest) short() uint64 { return binary.LittleEndian.Uint64(d[1:]) }

func digestOf(token string) digest {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token))) // read only, so that nothing is copied
}

const (
	// memoryShards keeps checks that run at once from waiting for one lock. A power of two.
	memoryShards = 64
	// sweepSteps bounds the search for a place, per token that is to be remembered.
	sweepSteps = 16
	// proofOverhead is what an entry takes besides its answer, in bytes: the struct, its places in map
	// and ring, and allocation's own rounding. TestMemoryIsBounded holds it against what is measured.
	proofOverhead = 288
)

// memory remembers JWTs whose signature was verified, and never one whose was not. It is bounded by
// count and bytes. When it is full, what is expired or was not used since the last sweep gives way
// first, so that a flood of new tokens does not push out the busy ones; where all are busy, the new
// one is not remembered. All methods are safe for concurrent use; a nil memory remembers nothing.
type memory struct {
	shards [memoryShards]memoryShard
	most   int // entries a shard
	bytes  int // of a shard
}

type memoryShard struct {
	mu     sync.RWMutex
	proofs map[uint64]*proof // by digest.short; guarded by mu, as all below
	ring   []*proof
	hand   int // the sweep's next place in ring
	bytes  int
	// evicted counts those that gave way.
	evicted int
}

// newMemory returns a memory for so many tokens and bytes, or nil when it would be for none.
func newMemory(tokens, bytes int) *memory {
	if tokens <= 0 || bytes <= 0 {
		return nil
	}
	m := &memory{most: max(1, tokens/memoryShards), bytes: bytes / memoryShards}
	for i := range m.shards {
		m.shards[i].proofs = make(map[uint64]*proof)
	}
	return m
}

func (m *memory) shard(d digest) *memoryShard { return &m.shards[d[0]%memoryShards] }

// find returns the proof of the token with this digest, or nil.
func (m *memory) find(d digest) *proof {
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

// add remembers a proof, if there is room or can be made.
func (m *memory) add(p *proof, now time.Time) {
	if m == nil {
		return
	}
	shard, size := m.shard(p.digest), p.size()
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
func (s *memoryShard) sweep(now time.Time) {
	if s.hand >= len(s.ring) {
		s.hand = 0
	}
	candidate := s.ring[s.hand]
	if candidate.used.Swap(false) && now.Before(candidate.times.Expires.Time().Add(jwksLeeway)) {
		s.hand++
		return
	}
	s.remove(candidate)
	s.evicted++
}

// forget removes a proof whose key is no longer the issuer's.
func (m *memory) forget(p *proof) {
	shard := m.shard(p.digest)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.proofs[p.digest.short()] == p {
		shard.remove(p)
	}
}

func (s *memoryShard) remove(p *proof) {
	delete(s.proofs, p.digest.short())
	s.bytes -= p.size()
	last := len(s.ring) - 1
	moved := s.ring[last]
	s.ring[p.slot], moved.slot = moved, p.slot
	s.ring[last] = nil
	s.ring = s.ring[:last]
}

// size is what the proof takes, in bytes.
func (p *proof) size() int { return proofOverhead + len(p.answer.encoded) }

// memoryStats is what the memory holds, for the metrics.
type memoryStats struct{ tokens, bytes, evicted int }

func (m *memory) stats() (total memoryStats) {
	if m == nil {
		return total
	}
	for i := range m.shards {
		shard := &m.shards[i]
		shard.mu.RLock()
		total.tokens += len(shard.ring)
		total.bytes += shard.bytes
		total.evicted += shard.evicted
		shard.mu.RUnlock()
	}
	return total
}
