package meshtest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"extauthz/envoy/parts"
)

// startScheduler runs Kubernetes' own scheduler for this cluster.
func (c *cluster) startScheduler(t *testing.T, s *stack) {
	t.Helper()
	program, err := s.installer.KubeScheduler()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	config, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": []any{map[string]any{"name": "test", "cluster": map[string]any{
			"server": c.url, "insecure-skip-tls-verify": true}}},
		"users":    []any{map[string]any{"name": "test", "user": map[string]any{"token": "admin-token"}}},
		"contexts": []any{map[string]any{"name": "test", "context": map[string]any{"cluster": "test", "user": "test"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "kubeconfig")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	scheduler, err := parts.Start("kube-scheduler", folder, nil, exec.Command(program, "--kubeconfig", file,
		"--authentication-kubeconfig", file, "--authorization-kubeconfig", file, "--leader-elect=false", "--secure-port=0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		scheduler.Stop()
		if t.Failed() {
			t.Log(scheduler.LogEnd())
		}
	})
}

// node is a machine of a zone, which nothing runs: the scheduler reads of it what a kubelet would report.
func node(name, zone string, taints []any) (spec, status object) {
	identity := map[string]any{"name": name, "labels": map[string]any{
		"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}}
	room := map[string]any{"cpu": "4", "memory": "8Gi", "pods": "50"}
	spec = object{"apiVersion": "v1", "kind": "Node", "metadata": identity, "spec": map[string]any{"taints": taints}}
	status = object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name}, "status": map[string]any{
		"capacity": room, "allocatable": room, "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}
	return spec, status
}

// place makes replicas of a Deployment, as its ReplicaSet would, and returns how many came to lie in each zone; "" counts
// those that found no node.
func (c *cluster) place(t *testing.T, deployment object, set string, replicas int) map[string]int {
	t.Helper()
	zones := map[string]int{}
	for i := range replicas {
		pod := podOf(deployment, fmt.Sprintf("%s-%d", set, i))
		pod.at("metadata", "labels").(map[string]any)["pod-template-hash"] = set
		if err := c.apply(t, pod); err != nil {
			t.Fatal(err)
		}
		where := ""
		for deadline := time.Now().Add(time.Minute); where == "" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			where = c.read(t, pod).text("spec", "nodeName")
		}
		zones[strings.TrimRight(where, "-0123456789")]++ // zone-a-1 is in zone-a
	}
	return zones
}

// filler is a pod of no importance that takes most of a node.
func filler(on string) object {
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "filler-" + on, "namespace": "fillers"},
		"spec": map[string]any{"nodeName": on, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
			"containers": []any{map[string]any{"name": "filler", "image": "filler", "resources": map[string]any{
				"requests": map[string]any{"cpu": "3400m"}}}}}}
}

// Kubernetes' own scheduler keeps the replicas' zones even, also where the others are full of lesser pods; a zone that is
// lost keeps none from being made elsewhere; and one zone alone is enough.
func TestReplicasAreSpread(t *testing.T) {
	s := startStack(t)
	c := startCluster(t, s)
	c.startScheduler(t, s)
	apply := func(o object) {
		t.Helper()
		if err := c.apply(t, o); err != nil {
			t.Fatal(err)
		}
	}
	nodes := func(zone string, taints ...any) {
		t.Helper()
		for i := range 2 {
			spec, status := node(fmt.Sprintf("%s-%d", zone, i), zone, append([]any{}, taints...))
			apply(spec)
			apply(spec) // the server taints a new node, until its kubelet reports
			if err := c.applyTo(t, status, "/status"); err != nil {
				t.Fatal(err)
			}
		}
	}
	var deployment object
	for _, o := range overlay(t, "base") {
		switch o.kind() {
		case "Namespace", "ServiceAccount", "PriorityClass":
			apply(o)
		case "Deployment":
			deployment = o
		}
	}
	apply(object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "fillers"}})
	apply(object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default", "namespace": "fillers"}})
	expect := func(title string, got, want map[string]int) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", title, got, want)
		}
	}
	nodes("zone-a")
	expect("one zone", c.place(t, deployment, "alone", 3), map[string]int{"zone-a": 3})
	nodes("zone-b")
	nodes("zone-c")
	expect("three zones, and the version before in one", c.place(t, deployment, "even", 6),
		map[string]int{"zone-a": 2, "zone-b": 2, "zone-c": 2})
	for _, on := range []string{"zone-b-0", "zone-b-1", "zone-c-0", "zone-c-1"} {
		apply(filler(on))
	}
	expect("two zones are full of lesser pods", c.place(t, deployment, "crowded", 6),
		map[string]int{"zone-a": 2, "zone-b": 2, "zone-c": 2})
	nodes("zone-c", map[string]any{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"})
	expect("a zone is lost", c.place(t, deployment, "lost", 4), map[string]int{"zone-a": 2, "zone-b": 2})
}
