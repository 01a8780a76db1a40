package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/session/redis"
)

// A node of a Cluster that redis:// names has some of the keys at most: nothing says that all is well with it.
func TestNodeOfAClusterAsOneServer(t *testing.T) {
	nodes := startPair(t)
	store := openStore(t, redis.Config{URL: nodes[0].URL(), Keys: keys, Budget: 400 * time.Millisecond})
	await(t, "that it is a Cluster's", func() bool {
		if store.IsReady() {
			t.Fatal("ready, and most checks are outages")
		}
		return strings.Contains(store.Part().Fault, "redis-cluster://")
	})
	found := store.Diagnose(t.Context())
	if len(found) == 0 || !strings.Contains(found[0].Found, "redis-cluster://") {
		t.Errorf("doctor says %+v", found)
	}
}

// A Cluster that is down is an outage, and is not told as one that answers.
func TestClusterThatIsDown(t *testing.T) {
	nodes := startPair(t)
	store := openStore(t, redis.Config{URL: "redis-cluster://" + nodes[0].Address(), Keys: keys, Budget: 400 * time.Millisecond})
	signInto(t, nodes[0], "good")
	await(t, "an answer", func() bool { is, _ := allows(store, "good"); return is })
	for _, node := range nodes { // a slot that nobody has, and every other with it
		command(t, node, "CLUSTER", "DELSLOTS", "0")
	}
	await(t, "the Cluster is down", func() bool {
		return strings.Contains(command(t, nodes[0], "CLUSTER", "INFO"), "cluster_state:fail") &&
			strings.Contains(command(t, nodes[1], "CLUSTER", "INFO"), "cluster_state:fail")
	})
	await(t, "the part fails", func() bool {
		if is, err := allows(store, "good"); is || err == nil {
			t.Fatal(is, err, "expected an outage")
		}
		return !store.Part().OK
	})
}

// startPair starts a Cluster of two masters.
func startPair(t *testing.T) []*parts.Redis {
	t.Helper()
	var nodes []*parts.Redis
	for range 2 {
		nodes = append(nodes, startRedis(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t)))
	}
	for i, last := range []string{"8191", "16383"} {
		command(t, nodes[i], "CLUSTER", "ADDSLOTSRANGE", []string{"0", "8192"}[i], last)
		command(t, nodes[i], "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	command(t, nodes[1], "CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(nodes[0].Port), busOf(nodes[0]))
	for _, node := range nodes {
		await(t, "the Cluster is whole", func() bool {
			said := command(t, node, "CLUSTER", "INFO")
			return strings.Contains(said, "cluster_state:ok") && strings.Contains(said, "cluster_known_nodes:2")
		})
	}
	return nodes
}

// signInto keeps a session at whichever node has its slot.
func signInto(t *testing.T, node *parts.Redis, token string) {
	t.Helper()
	command(t, node, "-c", "SET", keys.Session(token), valueOf(t, token, zoe))
}
