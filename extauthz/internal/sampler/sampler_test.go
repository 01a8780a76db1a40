package sampler_test

import (
	"testing"
	"time"

	"extauthz/extauthz/internal/sampler"
)

// BenchmarkPass is a line that is left out, as most are in a flood.
func BenchmarkPass(b *testing.B) {
	s := sampler.New(time.Hour, 1)
	s.Pass()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Pass(); ok {
			b.Fatal("passed")
		}
	}
}
