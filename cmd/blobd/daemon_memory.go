package main

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// limitMemory has Go's garbage collector keep the process below its cgroup's memory limit, as service managers and
// Kubernetes set it, and returns what it set; 0 where there is no limit, or GOMEMLIMIT says what to keep to. A tenth is left
// for what the collector does not count and for the kernel's own.
func limitMemory(root fs.FS) int64 {
	limit := cgroupMemory(root)
	if limit == 0 || os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	soft := limit / 10 * 9
	debug.SetMemoryLimit(soft)
	return soft
}

// memoryTier is how large the memory tier is: as configured, and at most an eighth of what the process may take.
func memoryTier(configured int64) int64 {
	return min(configured, debug.SetMemoryLimit(-1)/8)
}

// cgroupMemory is the memory limit of this process's cgroup, version 1 or 2, or of the tightest one above it; 0 is none.
func cgroupMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy, controllers, path
		if len(parts) < 3 {
			continue
		}
		mount, files := "sys/fs/cgroup/memory", []string{"memory.limit_in_bytes"}
		switch {
		case parts[1] == "": // version 2, where beyond memory.high a process is slowed down until it hardly moves
			mount, files = "sys/fs/cgroup", []string{"memory.max", "memory.high"}
		case !slices.Contains(strings.Split(parts[1], ","), "memory"):
			continue
		}
		// In a container the path may be the host's, and only the mount is there.
		for dir := path.Join(mount, path.Clean("/"+parts[2])); ; dir = path.Dir(dir) {
			for _, file := range files {
				text, err := fs.ReadFile(root, path.Join(dir, file))
				n, parseErr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
				if err == nil && parseErr == nil && n > 0 {
					least = min(least, n)
				}
			}
			if dir == mount {
				break
			}
		}
	}
	if least > 1<<60 { // version 1 says "none" by a number close to the greatest
		return 0
	}
	return least
}
