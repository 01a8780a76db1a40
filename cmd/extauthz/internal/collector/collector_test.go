package collector

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

const (
	mountV2  = "31 22 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	mountsV1 = "30 22 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n35 30 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
)

func filesOf(own, mounts string, limits map[string]string) fstest.MapFS {
	files := fstest.MapFS{"proc/self/cgroup": {Data: []byte(own)}, "proc/self/mountinfo": {Data: []byte(mounts)}}
	for name, limit := range limits {
		files[name] = &fstest.MapFile{Data: []byte(limit + "\n")}
	}
	return files
}

// The smallest limit of the process' own group and of those above it counts, wherever the hierarchy is mounted.
func TestContainerMemory(t *testing.T) {
	for title, row := range map[string]struct {
		files fstest.MapFS
		want  int64
	}{
		"no control groups":             {fstest.MapFS{}, 0},
		"v2, the container's namespace": {filesOf("0::/\n", mountV2, map[string]string{"sys/fs/cgroup/memory.max": "536870912"}), 512 << 20},
		"v2, no limit":                  {filesOf("0::/\n", mountV2, map[string]string{"sys/fs/cgroup/memory.max": "max"}), 0},
		"v2, a service of systemd": {filesOf("0::/system.slice/extauthz.service\n", mountV2, map[string]string{
			"sys/fs/cgroup/system.slice/extauthz.service/memory.max":  "max",
			"sys/fs/cgroup/system.slice/extauthz.service/memory.high": "314572800",
			"sys/fs/cgroup/system.slice/memory.max":                   "1073741824"}), 300 << 20},
		"v2, a parent is smaller": {filesOf("0::/pod/container\n", mountV2, map[string]string{
			"sys/fs/cgroup/pod/container/memory.max": "536870912", "sys/fs/cgroup/pod/memory.max": "268435456"}), 256 << 20},
		"v2, from outside the namespace": {filesOf("0::/../../other\n", mountV2, map[string]string{"sys/fs/cgroup/memory.max": "100"}), 100},
		"v2, mounted at its own group": {filesOf("0::/docker/abc/inner\n", "31 22 0:27 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			map[string]string{"sys/fs/cgroup/memory.max": "300", "sys/fs/cgroup/inner/memory.max": "200"}), 200},
		"v2, mounted elsewhere": {filesOf("0::/\n", `31 22 0:27 / /a\040place rw - cgroup2 cgroup rw`, map[string]string{"a place/memory.max": "77"}), 77},
		"v1": {filesOf("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
			mountsV1+"36 30 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "209715200"}), 200 << 20},
		"v1, no limit": {filesOf("4:memory:/\n", mountsV1+"36 30 0:32 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}), 0},
		"both": {filesOf("4:memory:/a\n0::/a\n", "31 22 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n36 30 0:32 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			map[string]string{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000"}), 1000},
		"nonsense": {filesOf("a:b\n\n::::\n0::/\n", "nonsense\n - \n"+mountV2, map[string]string{"sys/fs/cgroup/memory.max": "-1"}), 0},
	} {
		if got := containerMemory(row.files); got != row.want {
			t.Errorf("%s: %d, want %d", title, got, row.want)
		}
	}
	if got := containerMemory(os.DirFS("/")); got < 0 || got > math.MaxInt64/2 {
		t.Errorf("here: %d", got)
	}
}

// The soft limit stays below the container's, and what the environment says goes before both.
func TestCollectorKnowsTheContainer(t *testing.T) {
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(percent)
	small := filesOf("0::/\n", mountV2, map[string]string{"sys/fs/cgroup/memory.max": "209715200"})
	for _, row := range []struct {
		files     fstest.MapFS
		variables map[string]string
		want      int64
	}{
		{fstest.MapFS{}, nil, room + 64<<20},
		{small, nil, 180 << 20},
		{small, map[string]string{"GOMEMLIMIT": "1GiB"}, 1 << 40},
		{small, map[string]string{"GOGC": "100"}, 1 << 40},
	} {
		debug.SetMemoryLimit(1 << 40)
		Tune(func(name string) string { return row.variables[name] }, 64<<20, row.files, slog.New(slog.DiscardHandler))
		if got := debug.SetMemoryLimit(-1); got != row.want {
			t.Errorf("%v: %d MiB, want %d", row.variables, got>>20, row.want>>20)
		}
	}
}
