package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/redis"
	"extauthz/extauthz/internal/session/redis/secondary"
)

var (
	keys = secondary.Keys{Prefix: secondary.DefaultPrefix}
	zoe  = session.Row{ExpiresAt: time.Date(2999, 1, 2, 3, 4, 5, 0, time.UTC), UserID: "zoe", Email: "zoe@example.com", Name: "Zoë"}
)

// signIn keeps a session as Better Auth does.
func signIn(t testing.TB, server *parts.Redis, token string) {
	t.Helper()
	command(t, server, "SET", keys.Session(token), valueOf(t, token, zoe))
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

// allows tells whether a token's session is found; what cannot be asked is not.
func allows(store *redis.Store, token string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	row, err := store.Session(ctx, token)
	return row != nil, err
}

// The vectors' values, kept by a real server.
func TestVectorsOnARealServer(t *testing.T) {
	content, err := os.ReadFile("secondary/testdata/redis_sessions.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		NowMS int64 `json:"now_ms"`
		Cases []struct {
			Name, Token    string
			Redis          map[string]string
			BetterAuthSays string `json:"better_auth_says"`
		}
	}
	if err := json.Unmarshal(content, &vectors); err != nil {
		t.Fatal(err)
	}
	stricter := map[string]bool{"createdAt missing, marker set": true, "session.userId differs from user.id": true}
	server := startRedis(t)
	store := openStore(t, redis.Config{URL: server.URL(), Keys: keys})
	for _, c := range vectors.Cases {
		command(t, server, "FLUSHALL")
		for key, value := range c.Redis {
			command(t, server, "SET", key, value)
		}
		row, err := store.Session(t.Context(), c.Token)
		if err != nil && !errors.Is(err, session.ErrRevoked) {
			if _, isRefused := errors.AsType[*session.RefusedError](err); !isRefused {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
		got := row != nil && !row.ExpiresAt.Before(time.UnixMilli(vectors.NowMS))
		if expected := strings.HasPrefix(c.BetterAuthSays, "session of ") && !stricter[c.Name]; got != expected {
			t.Errorf("%s: allowed %t, expected %t (%v)", c.Name, got, expected, err)
		}
	}
}

func TestWrongShapesAreRefusedAlone(t *testing.T) {
	server := startRedis(t)
	store := openStore(t, redis.Config{URL: server.URL(), Keys: keys})
	signIn(t, server, "good")
	command(t, server, "RPUSH", keys.Session("list"), "x")
	command(t, server, "HSET", keys.Session("hash"), "x", "y")
	command(t, server, "SETRANGE", keys.Session("long"), "40000000", "x")
	other := zoe
	other.UserID = "other"
	command(t, server, "SET", keys.Session("marked"), valueOf(t, "marked", other))
	command(t, server, "RPUSH", keys.Markers("other")[0], "x")
	command(t, server, "SET", keys.Session("empty"), "")
	command(t, server, "SET", keys.Markers("zoe")[0], "1") // would be read as a session of this name
	for range 3 {
		for _, token := range []string{"list", "hash", "long", "marked"} {
			row, err := store.Session(t.Context(), token)
			if _, isRefused := errors.AsType[*session.RefusedError](err); !isRefused || row != nil {
				t.Errorf("%s: %v, %v, expected a refusal", token, row, err)
			}
		}
		for _, token := range []string{"empty", "revoked-sessions-before-zoe", "active-sessions-zoe", "x\r\nFLUSHALL\r\n"} {
			if row, err := store.Session(t.Context(), token); row != nil || err != nil {
				t.Errorf("%s: %v, %v, expected no session", token, row, err)
			}
		}
		if is, err := allows(store, "good"); !is {
			t.Error("a good session beside them: ", err)
		}
	}
}

// The access rules that docs/better-auth.md gives are enough, and less is said to be.
func TestAccessRules(t *testing.T) {
	server := startRedis(t)
	command(t, server, "ACL", "SETUSER", "reader", "on", ">pa/ss", "resetkeys", "%R~better-auth:*", "resetchannels", "-@all",
		"+get", "+role", "+client|setname", "+auth")
	command(t, server, "ACL", "SETUSER", "blind", "on", ">pa/ss", "resetkeys", "%R~other:*", "-@all", "+get", "+role")
	command(t, server, "ACL", "SETUSER", "mute", "on", ">pa/ss", "allkeys", "-@all", "+get")
	signIn(t, server, "good")
	url := func(user string) string { return strings.Replace(server.URL(), "//", "//"+user+":pa%2Fss@", 1) }
	store := openStore(t, redis.Config{URL: url("reader"), Keys: keys})
	if is, err := allows(store, "good"); !is {
		t.Error(err)
	}
	for user, expected := range map[string]string{"blind": "NOPERM", "mute": "NOPERM", "nobody": "WRONGPASS"} {
		store := openStore(t, redis.Config{URL: url(user), Keys: keys})
		await(t, user+" fails", func() bool { return store.Part().Fault != "" })
		fault := store.Part().Fault
		if _, err := allows(store, "good"); err == nil || store.IsReady() || !strings.Contains(fault, expected) ||
			strings.Contains(fault, "pa/ss") {
			t.Errorf("%s: %v, part %q", user, err, fault)
		}
	}
}

// A sign-out counts from the next check on, also where many checks are under way.
func TestRevocationUnderLoad(t *testing.T) {
	server := startRedis(t)
	store := openStore(t, redis.Config{URL: server.URL(), Keys: keys})
	const sessions = 30
	for i := range sessions {
		signIn(t, server, fmt.Sprint("t", i))
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var asked atomic.Int64
	for i := range 16 {
		load.Go(func() {
			for ctx.Err() == nil {
				store.Session(ctx, fmt.Sprint("t", i%sessions))
				asked.Add(1)
			}
		})
	}
	await(t, "load", func() bool { return asked.Load() > 1000 })
	late := 0
	for round := range 300 {
		token := fmt.Sprint("t", round%sessions)
		if round%3 == 0 { // revoke-sessions: the marker alone counts before the deletion is done
			command(t, server, "SET", keys.Markers("zoe")[0], "9999999999999")
		} else {
			command(t, server, "DEL", keys.Session(token))
		}
		if is, _ := allows(store, token); is {
			late++
		}
		command(t, server, "DEL", keys.Markers("zoe")[0])
		signIn(t, server, token)
		if is, err := allows(store, token); !is {
			t.Errorf("round %d: signed in anew, and %v", round, err)
		}
	}
	stop()
	load.Wait()
	if late != 0 {
		t.Errorf("%d of 300 signed-out sessions were allowed", late)
	}
}

// A master that is demoted while connections to it are open says so at the next check, and the other one is asked.
func TestDemotedMaster(t *testing.T) {
	first, second := startRedis(t), startRedis(t)
	command(t, second, "REPLICAOF", "127.0.0.1", fmt.Sprint(first.Port))
	await(t, "replication", func() bool {
		return strings.Contains(command(t, second, "INFO", "replication"), "master_link_status:up")
	})
	alone := openStore(t, redis.Config{URL: first.URL(), Keys: keys, Budget: 400 * time.Millisecond})
	both := openStore(t, redis.Config{URL: first.URL() + "," + second.Address(), Keys: keys, Budget: 400 * time.Millisecond})
	signIn(t, first, "good")
	for _, store := range []*redis.Store{alone, both} {
		await(t, "an answer", func() bool { is, _ := allows(store, "good"); return is })
	}
	await(t, "the session at the replica", func() bool { return command(t, second, "EXISTS", keys.Session("good")) == "1" })
	command(t, second, "REPLICAOF", "NO", "ONE")
	command(t, first, "REPLICAOF", "127.0.0.1", "1") // of one that is away, so that it keeps what it has
	command(t, second, "DEL", keys.Session("good"))
	for range 20 {
		for title, store := range map[string]*redis.Store{"alone": alone, "both": both} {
			if is, _ := allows(store, "good"); is {
				t.Fatalf("%s: a session that was signed out at the new master is allowed", title)
			}
		}
	}
	signIn(t, second, "new")
	await(t, "an answer of the new master", func() bool { is, _ := allows(both, "new"); return is })
	await(t, "that it is a replica", func() bool { return strings.Contains(alone.Part().Fault, "it is a replica") })
}

// Sentinels move the mastership away from a master that hangs; when it goes on and still believes that it is one, nothing
// that it says counts.
func TestSentinel(t *testing.T) {
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	first, second := startRedis(t), startRedis(t)
	command(t, second, "REPLICAOF", "127.0.0.1", fmt.Sprint(first.Port))
	await(t, "replication", func() bool {
		return strings.Contains(command(t, second, "INFO", "replication"), "master_link_status:up")
	})
	var sentinels []*parts.Redis
	hosts := ""
	for range 3 {
		port, err := parts.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		one, err := installer.StartSentinel(t.Context(), t.TempDir(), port, first, "main", 2)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { one.Stop() })
		sentinels = append(sentinels, one)
		hosts += "," + one.Address()
	}
	for _, one := range sentinels {
		await(t, "the Sentinels know each other and the replica", func() bool {
			said := command(t, one, "SENTINEL", "MASTER", "main")
			return strings.Contains(said, "num-slaves\n1\n") && strings.Contains(said, "num-other-sentinels\n2\n")
		})
	}
	store := openStore(t, redis.Config{URL: "redis-sentinel://" + hosts[1:] + "/main", Keys: keys, Budget: 400 * time.Millisecond})
	signIn(t, first, "good")
	await(t, "an answer", func() bool { is, _ := allows(store, "good"); return is })
	await(t, "the session at the replica", func() bool { return command(t, second, "EXISTS", keys.Session("good")) == "1" })
	if err := first.Freeze(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Thaw() })
	await(t, "the failover", func() bool { // which cuts connections
		role, err := second.Command("ROLE")
		return err == nil && strings.HasPrefix(role, "master")
	})
	await(t, "no more cuts", func() bool {
		return strings.Contains(command(t, sentinels[0], "SENTINEL", "MASTER", "main"), fmt.Sprint(second.Port))
	})
	command(t, second, "DEL", keys.Session("good"))
	signIn(t, second, "new")
	await(t, "an answer of the new master", func() bool { is, _ := allows(store, "new"); return is })
	if err := first.Thaw(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if is, _ := allows(store, "good"); is {
			t.Fatal("the former master's word counts")
		}
	}
}

// In a Cluster each key has its master; sessions and markers are found wherever they are, also when slots move.
func TestCluster(t *testing.T) {
	var nodes []*parts.Redis
	for range 3 {
		nodes = append(nodes, startRedis(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t)))
	}
	ranges := [][2]int{{0, 5460}, {5461, 10922}, {10923, 16383}}
	for i, node := range nodes {
		command(t, node, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(ranges[i][0]), fmt.Sprint(ranges[i][1]))
		command(t, node, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	for _, node := range nodes[1:] {
		command(t, node, "CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(nodes[0].Port), busOf(nodes[0]))
	}
	for _, node := range nodes {
		await(t, "the Cluster is whole", func() bool {
			return strings.Contains(command(t, node, "CLUSTER", "INFO"), "cluster_state:ok") &&
				strings.Contains(command(t, node, "CLUSTER", "INFO"), "cluster_known_nodes:3")
		})
	}
	const sessions = 60
	put := func(token string) {
		user := zoe
		user.UserID = "user-" + token
		command(t, nodes[0], "-c", "SET", keys.Session(token), valueOf(t, token, user))
	}
	store := openStore(t, redis.Config{URL: "redis-cluster://" + nodes[1].Address(), Keys: keys, Budget: 400 * time.Millisecond})
	for i := range sessions {
		token := fmt.Sprint("t", i)
		put(token)
		await(t, "an answer", func() bool { is, _ := allows(store, token); return is })
		if i%3 == 0 {
			command(t, nodes[0], "-c", "SET", keys.Markers("user-" + token)[0], "9999999999999")
			if _, err := store.Session(t.Context(), token); !errors.Is(err, session.ErrRevoked) {
				t.Errorf("%s: %v, expected that it is revoked", token, err)
			}
		}
	}
	if !store.IsReady() || !store.Part().OK {
		t.Error(store.Part())
	}

	// A slot moves, first in part and then whole.
	moved := keys.Session("t1")
	slot := command(t, nodes[0], "CLUSTER", "KEYSLOT", moved)
	var from, to *parts.Redis
	for i, node := range nodes {
		var number int
		fmt.Sscan(slot, &number)
		if number >= ranges[i][0] && number <= ranges[i][1] {
			from, to = node, nodes[(i+1)%3]
		}
	}
	idOf := func(node *parts.Redis) string { return command(t, node, "CLUSTER", "MYID") }
	command(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", idOf(from))
	command(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", idOf(to))
	command(t, from, "MIGRATE", "127.0.0.1", fmt.Sprint(to.Port), moved, "0", "5000")
	if is, err := allows(store, "t1"); !is {
		t.Error("while its slot moves: ", err)
	}
	for _, node := range []*parts.Redis{to, from} {
		command(t, node, "CLUSTER", "SETSLOT", slot, "NODE", idOf(to))
	}
	if is, err := allows(store, "t1"); !is {
		t.Error("after its slot has moved: ", err)
	}

	// A master that dies takes its own sessions along, and no others.
	if err := from.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the part fails", func() bool { allows(store, "t1"); return !store.Part().OK })
}

// busOf is the port of a node's cluster bus.
func busOf(node *parts.Redis) string {
	for i, word := range node.Arguments() {
		if word == "--cluster-port" {
			return node.Arguments()[i+1]
		}
	}
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(port)
}
