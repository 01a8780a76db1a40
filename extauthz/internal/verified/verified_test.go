package verified

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// size is what an entry of these tests is said to take, in bytes.
const size = 600

func digestFor(i int) Digest { return Of(binary.BigEndian.AppendUint64(nil, uint64(i))) }

func add(m *Memory[int], i int, expires time.Time) {
	m.Add(&Entry[int]{Value: i}, digestFor(i), size, expires, now)
}

// checkShards wants map, ring and the count of bytes to tell the same.
func checkShards(t *testing.T, m *Memory[int]) {
	t.Helper()
	for i := range m.shards {
		shard, bytes := &m.shards[i], 0
		for slot, p := range shard.ring {
			bytes += int(p.size)
			if p.slot != uint32(slot) || shard.proofs[p.digest.short()] != p {
				t.Fatalf("shard %d, slot %d: %+v", i, slot, p)
			}
		}
		if len(shard.ring) != len(shard.proofs) || bytes != shard.bytes {
			t.Fatalf("shard %d: %d in the ring, %d in the map, %d bytes, %d counted",
				i, len(shard.ring), len(shard.proofs), bytes, shard.bytes)
		}
	}
}

// However tokens come, are used and are forgotten, nothing is lost or held twice.
func TestMemoryStaysWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	m := New[int](Shards*8, Shards*6*size)
	for range 20_000 {
		i := random.IntN(1000)
		switch known := m.Find(digestFor(i)); {
		case known == nil:
			add(m, i, now.Add(time.Hour))
		case known.Value != i:
			t.Fatalf("found %d, expected %d", known.Value, i)
		case random.IntN(4) == 0:
			m.Forget(known)
		}
	}
	checkShards(t, m)
}

// A flood of new tokens does not push out those that are in use.
func TestFloodDoesNotPushOutTheBusy(t *testing.T) {
	m := New[int](Shards*100, 1<<30)
	const busy = 1000
	use := func() (known int) {
		for i := range busy {
			if m.Find(digestFor(i)) != nil {
				known++
			}
		}
		return known
	}
	for i := range busy {
		add(m, i, now.Add(time.Hour))
	}
	for round := range 20 {
		if known := use(); known != busy {
			t.Fatalf("round %d: %d of %d busy tokens are left", round, known, busy)
		}
		for i := range 3000 {
			add(m, busy+round*3000+i, now.Add(time.Hour))
		}
	}
	if got := m.Stats().Tokens; got > Shards*100 {
		t.Errorf("%d remembered", got)
	}
}

// What is expired gives way first, even when it was used.
func TestExpiredTokensGiveWay(t *testing.T) {
	m := New[int](Shards, 1<<30)
	for i := range 1000 {
		add(m, i, now.Add(-time.Hour))
		m.Find(digestFor(i))
	}
	add(m, 5000, now.Add(time.Hour))
	if m.Find(digestFor(5000)) == nil {
		t.Error("an expired token kept a fresh one out")
	}
}

func BenchmarkFind(b *testing.B) {
	m := New[int](1<<20, 1<<30)
	token := bytes.Repeat([]byte("a"), 700)
	m.Add(&Entry[int]{}, Of(token), size, now.Add(time.Hour), now)
	b.ReportAllocs()
	for b.Loop() {
		if m.Find(Of(token)) == nil {
			b.Fatal("not found")
		}
	}
}

// A token is found by its whole digest: another one that shares what the map goes by is another token, and is not
// remembered beside the first.
func TestDigestsThatShareTheirPlace(t *testing.T) {
	m := New[int](1000, 1<<20)
	add(m, 1, now.Add(time.Hour))
	other := digestFor(1)
	other[len(other)-1]++
	if m.shard(other) != m.shard(digestFor(1)) || other.short() != func() uint64 { d := digestFor(1); return d.short() }() {
		t.Fatal("the digests do not share their place")
	}
	if found := m.Find(other); found != nil {
		t.Errorf("found %+v by another digest", found)
	}
	m.Add(&Entry[int]{Value: 2}, other, size, now.Add(time.Hour), now)
	if found := m.Find(digestFor(1)); found == nil || found.Value != 1 {
		t.Errorf("the first is %+v", found)
	}
	checkShards(t, m)
}
