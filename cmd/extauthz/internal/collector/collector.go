// Package collector sets the garbage collector by what the server may remember and what memory its container has. It
// imports no other room and does not know what is remembered.
package collector

import (
	"io/fs"
	"log/slog"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// The garbage collector's settings while the environment does not say otherwise. A check leaves little
// behind and the heap is small, so the collector's default would run many times a second for nothing;
// the soft limit keeps that from multiplying a large memory of tokens. docs/performance.md has the figures.
const (
	percent = 400       // GOGC
	room    = 256 << 20 // of GOMEMLIMIT, beside what may be remembered
	// containerShare is the share, in percent, of a container's memory that the limit may be. The rest is for what Go
	// does not count.
	containerShare = 90
)

// Tune leaves a collector alone that GOGC or GOMEMLIMIT has set. root is the file system.
func Tune(getenv func(string) string, remembered int, root fs.FS, log *slog.Logger) {
	if getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := int64(room) + int64(max(remembered, 0))
	if container := containerMemory(root); container > 0 {
		share := container / 100 * containerShare
		if int64(remembered) > share/2 {
			log.Warn("the container's memory is too small for EXTAUTHZ_REMEMBERED_MIB; "+
				"raise the one or lower the other",
				"container_mib", container>>20, "remembered_mib", remembered>>20)
		}
		limit = min(limit, share)
	}
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
}

// containerMemory is the smallest memory limit of this process' control group and of those above it, in bytes, by
// cgroup v2 or v1; 0 where there is none.
func containerMemory(root fs.FS) int64 {
	smallest := int64(math.MaxInt64)
	for _, g := range controlGroups(root) {
		for at := g.path; ; at = path.Dir(at) {
			for _, name := range g.files {
				if limit := readLimit(root, path.Join(g.mount, at, name)); limit > 0 {
					smallest = min(smallest, limit)
				}
			}
			if at == "/" {
				break
			}
		}
	}
	// Version 1 has no word for no limit, but a number near the largest.
	if smallest > math.MaxInt64/2 {
		return 0
	}
	return smallest
}

// controlGroup is where a hierarchy is mounted, where this process is in it, and which files there hold a limit.
type controlGroup struct {
	mount, path string
	files       []string
}

var (
	limitsV1 = []string{"memory.limit_in_bytes"}
	limitsV2 = []string{"memory.max", "memory.high"}
)

// controlGroups reads /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc_pid_mountinfo(5)).
func controlGroups(root fs.FS) (groups []controlGroup) {
	var pathV1, pathV2 string
	own, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(own)) {
		// hierarchy:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) != 3:
		case parts[0] == "0" && parts[1] == "":
			pathV2 = parts[2]
		case hasWord(parts[1], "memory"):
			pathV1 = parts[2]
		}
	}
	mounts, _ := fs.ReadFile(root, "proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		// id parent device root mount-point options … - type source super-options
		front, back, found := strings.Cut(strings.TrimSpace(line), " - ")
		before, after := strings.Fields(front), strings.Fields(back)
		if !found || len(before) < 5 || len(after) < 3 {
			continue
		}
		mountRoot, mount := unescape(before[3]), unescape(before[4])
		switch {
		case after[0] == "cgroup2" && pathV2 != "":
			groups = append(groups, controlGroup{mount, below(mountRoot, pathV2), limitsV2})
		case after[0] == "cgroup" && hasWord(after[2], "memory") && pathV1 != "":
			groups = append(groups, controlGroup{mount, below(mountRoot, pathV1), limitsV1})
		}
	}
	return groups
}

func hasWord(list, word string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one == word {
			return true
		}
	}
	return false
}

// below is the group's path from the mount's root on: a container's mount often begins at its own group. A path that
// lies elsewhere, as one from outside a namespace (/../…) does, counts as the root.
func below(mountRoot, group string) string {
	if mountRoot == "/" && !strings.HasPrefix(group, "/..") {
		return path.Clean("/" + group)
	}
	if rest, isBelow := strings.CutPrefix(group, mountRoot); isBelow && (rest == "" || rest[0] == '/') {
		return path.Clean("/" + rest)
	}
	return "/"
}

// unescape reads mountinfo's octal escapes of white space.
func unescape(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(field)
}

// readLimit returns 0 for no limit, and for a file that is not there.
func readLimit(root fs.FS, name string) int64 {
	content, err := fs.ReadFile(root, strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return 0
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	if err != nil || limit < 0 {
		return 0
	}
	return limit
}
