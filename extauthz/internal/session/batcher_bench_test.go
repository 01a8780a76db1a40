package session

import (
	"fmt"
	"testing"
)

// readyLink has each answer at once.
type readyLink struct{ row Row }

func (l *readyLink) Ask(tokens []string) (map[string]*Row, error) {
	rows := make(map[string]*Row, len(tokens))
	for _, token := range tokens {
		rows[token] = &l.row
	}
	return rows, nil
}

func (*readyLink) Interrupt() {}

// BenchmarkAsk is what sharing queries costs, with a store that answers at once: alone, and by many that wait together.
func BenchmarkAsk(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			batcher := NewBatcher[*Row](testBudget, 2)
			done := make(chan struct{})
			b.Cleanup(func() { <-done })
			retired := make(chan struct{})
			b.Cleanup(func() { close(retired) })
			go func() {
				defer close(done)
				batcher.Serve(b.Context(), &readyLink{}, retired)
			}()
			ask := func() {
				if l, err := batcher.Ask(b.Context(), "token"); err != nil || l.Err != nil || l.Row == nil {
					b.Error(l, err)
				}
			}
			b.ReportAllocs()
			if clients == 1 {
				for b.Loop() {
					ask()
				}
				return
			}
			b.SetParallelism(clients)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ask()
				}
			})
		})
	}
}
