package redis_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/extauthz/internal/session/redis"
)

// fakeServer answers each line of what it is sent that names a command; what is not known is an error.
func fakeServer(t *testing.T, answer func(command string) string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveFake(t, listener, answer)
	return listener.Addr().String()
}

// serveFake is fakeServer on a listener, which it closes at the end.
func serveFake(t *testing.T, listener net.Listener, answer func(command string) string) {
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					var n, length int
					if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
						return
					}
					var words []string
					for range n {
						fmt.Fscanf(in, "$%d\r\n", &length)
						word := make([]byte, length+2)
						for i := range word {
							word[i], _ = in.ReadByte()
						}
						words = append(words, string(word[:length]))
					}
					c.Write([]byte(answer(strings.Join(words, " "))))
				}
			}()
		}
	}()
}

// A Sentinel that answers late, to a question under the URL before, does not put that URL in force again, nor the
// master under it.
func TestLateSentinelDoesNotBringBackTheEarlierURL(t *testing.T) {
	real := startRedis(t)
	signIn(t, real, "good")
	hold, asked := make(chan struct{}), make(chan struct{}, 100)
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	earlier := fakeServer(t, func(command string) string {
		if !strings.HasPrefix(command, "SENTINEL") {
			return "+OK\r\n"
		}
		asked <- struct{}{}
		<-hold
		return strings.ReplaceAll(fmt.Sprintf("*6\n$2\nip\n$9\n127.0.0.1\n$4\nport\n+%d\n$12\nconfig-epoch\n:9\n", 1), "\n", "\r\n")
	})
	later := fakeServer(t, func(command string) string {
		if !strings.HasPrefix(command, "SENTINEL") {
			return "+OK\r\n"
		}
		return strings.ReplaceAll(fmt.Sprintf("*6\n$2\nip\n$9\n127.0.0.1\n$4\nport\n+%d\n$12\nconfig-epoch\n:1\n", real.Port), "\n", "\r\n")
	})
	var url atomic.Value
	url.Store("redis-sentinel://" + earlier + "/main")
	store := openStore(t, redis.Config{URL: url.Load().(string), Keys: keys, Budget: 400 * time.Millisecond,
		ReadURL: func() (string, error) { return url.Load().(string), nil }})
	<-asked
	url.Store("redis-sentinel://" + later + "/main")
	store.Diagnose(t.Context()) // reads the URL
	release()
	await(t, "an answer under the URL in force", func() bool { is, _ := allows(store, "good"); return is })
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is, err := allows(store, "good"); !is {
			t.Fatal("the earlier URL is in force again: ", err)
		}
	}
}

// While the Sentinels of a new URL do not answer, the master that those of the earlier URL named is not asked.
func TestMasterOfAnEarlierURLIsNotAsked(t *testing.T) {
	real := startRedis(t)
	signIn(t, real, "good")
	earlier := fakeServer(t, func(command string) string {
		if !strings.HasPrefix(command, "SENTINEL") {
			return "+OK\r\n"
		}
		return fmt.Sprintf("*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n+%d\r\n$12\r\nconfig-epoch\r\n:1\r\n", real.Port)
	})
	var url atomic.Value
	url.Store("redis-sentinel://" + earlier + "/main")
	store := openStore(t, redis.Config{URL: url.Load().(string), Keys: keys, Budget: 400 * time.Millisecond,
		ReadURL: func() (string, error) { return url.Load().(string), nil }})
	await(t, "an answer", func() bool { is, _ := allows(store, "good"); return is })
	url.Store("redis-sentinel://127.0.0.1:" + freePort(t) + "/main")
	store.Diagnose(t.Context()) // reads the URL
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is, _ := allows(store, "good"); is {
			t.Fatal("the earlier URL's master answers for the new one's")
		}
	}
}
