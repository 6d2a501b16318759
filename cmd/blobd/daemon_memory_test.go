package main

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestCgroupMemory(t *testing.T) {
	const none = "9223372036854771712\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no cgroups":  {nil, 0},
		"version 2":   {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "268435456\n"}, 256 << 20},
		"no limit":    {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0},
		"one above":   {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1000\n"}, 1000},
		"the tighter": {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "500\n", "sys/fs/cgroup/a/memory.max": "1000\n"}, 500},
		"a container": {map[string]string{"proc/self/cgroup": "0::/../../host/path\n", "sys/fs/cgroup/memory.max": "700\n"}, 700},
		"slowed down before": {map[string]string{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/memory.high": "800\n",
		}, 800},
		"no group but the mount": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "600\n"}, 600},
		"both versions, the memory in the first": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/kubepods/pod1/c1\n0::/kubepods/pod1/c1\n", // the mount is the container's own
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "67108864\n",
		}, 64 << 20},
		"no bytes at all": {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.high": "0\n"}, 0},
		"version 1": {map[string]string{
			"proc/self/cgroup": "9:cpu,cpuacct:/x\n4:memory:/a\n0::/\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "268435456\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": none,
		}, 256 << 20},
		"version 1 without a limit": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": none,
		}, 0},
		"nonsense": {map[string]string{"proc/self/cgroup": "4:memory\nx\n", "sys/fs/cgroup/memory.max": "many"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for file, text := range c.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := cgroupMemory(root); got != c.want {
				t.Errorf("%d, not %d", got, c.want)
			}
		})
	}
}

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	root := fstest.MapFS{
		"proc/self/cgroup":         &fstest.MapFile{Data: []byte("0::/\n")},
		"sys/fs/cgroup/memory.max": &fstest.MapFile{Data: []byte("268435456\n")},
	}
	t.Run("GOMEMLIMIT wins", func(t *testing.T) {
		t.Setenv("GOMEMLIMIT", "1GiB")
		if got := limitMemory(root); got != 0 || debug.SetMemoryLimit(-1) != before {
			t.Errorf("set to %d", got)
		}
	})
	t.Run("nine tenths of the cgroup's", func(t *testing.T) {
		t.Setenv("GOMEMLIMIT", "")
		const want = 268435456 / 10 * 9
		if got := limitMemory(root); got != want || debug.SetMemoryLimit(-1) != want {
			t.Errorf("set to %d, not %d", got, want)
		}
		if got := memoryTier(64 << 20); got != want/8 {
			t.Errorf("the memory tier gets %d", got)
		}
	})
	t.Run("no limit", func(t *testing.T) {
		debug.SetMemoryLimit(math.MaxInt64)
		if got := memoryTier(64 << 20); got != 64<<20 {
			t.Errorf("the memory tier gets %d", got)
		}
	})
}
