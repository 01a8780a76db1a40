package redis_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/redis"
	"extauthz/extauthz/internal/session/redis/secondary"
)

// BenchmarkStore is of whole answers, two questions each, with 256 checks in flight.
func BenchmarkStore(b *testing.B) {
	server := startRedis(b)
	keys := secondary.Keys{Prefix: secondary.DefaultPrefix}
	const sessions = 1000
	for i := range sessions {
		token := fmt.Sprintf("AbCdEfGhIjKlMnOpQrStUvWx%08d", i)
		command(b, server, "SET", keys.Session(token), valueOf(b, token, session.Row{ExpiresAt: time.Now().Add(time.Hour),
			UserID: fmt.Sprintf("user%028d", i), Email: "zoe@example.com", Name: "Zoë Day"}))
	}
	store := openStore(b, redis.Config{URL: server.URL(), Keys: keys})
	for !store.IsReady() {
		time.Sleep(time.Millisecond)
	}
	var next, failed atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	var work sync.WaitGroup
	for range 256 {
		work.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if row, err := store.Session(context.Background(), fmt.Sprintf("AbCdEfGhIjKlMnOpQrStUvWx%08d", i%sessions)); err != nil || row == nil {
					failed.Add(1)
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "cpu-µs/op")
	if failed.Load() > 0 {
		b.Error(failed.Load(), "failed")
	}
}

// cpu is what this process has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
