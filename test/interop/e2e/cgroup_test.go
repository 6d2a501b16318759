package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
)

// cgroup is a memory cgroup, of version 1 or 2, and the most anonymous memory that was seen in it. Page cache is left
// out: it counts against the limit, but the kernel takes it back.
type cgroup struct {
	dir       string
	anonymous string // its name in memory.stat

	mu   sync.Mutex // guards what follows
	peak int64
}

// newCgroup makes a group of at most limit bytes, which goes with the test.
func newCgroup(t *testing.T, limit int64) *cgroup {
	t.Helper()
	testneed.Root(t)
	g := &cgroup{dir: "/sys/fs/cgroup/memory", anonymous: "rss"}
	file := "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Join(g.dir, file)); err != nil {
		g.dir, g.anonymous, file = "/sys/fs/cgroup", "anon", "memory.max"
		// Where it is switched on already, or another manages it, this may fail: then the file below is there, or is not.
		_ = os.WriteFile(filepath.Join(g.dir, "cgroup.subtree_control"), []byte("+memory"), 0o644)
	}
	dir, err := os.MkdirTemp(g.dir, "blobd-test-")
	if err != nil {
		testneed.Missing(t, "it needs memory cgroups: "+err.Error())
	}
	g.dir = dir
	t.Cleanup(func() {
		eventually(t, "the cgroup is empty and goes", func() bool {
			err := os.Remove(g.dir)
			return err == nil || errors.Is(err, os.ErrNotExist)
		})
	})
	if err := os.WriteFile(filepath.Join(g.dir, file), strconv.AppendInt(nil, limit, 10), 0o644); err != nil {
		testneed.Missing(t, "it needs memory cgroups: "+err.Error())
	}
	_ = os.WriteFile(filepath.Join(g.dir, "memory.swap.max"), []byte("0"), 0o644) // where there is swap
	return g
}

// stat is a value of one of the group's files; 0 where it is not there.
func (g *cgroup) stat(file, name string) int64 {
	f, err := os.Open(filepath.Join(g.dir, file))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, _ := strings.Cut(s.Text(), " "); key == name {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// kills is how often the kernel has killed in the group.
func (g *cgroup) kills() int64 {
	return g.stat("memory.events", "oom_kill") + g.stat("memory.oom_control", "oom_kill")
}

// now is the anonymous memory of the group.
func (g *cgroup) now() int64 { return g.stat("memory.stat", g.anonymous) }

// watch looks at the group's memory until the test ends.
func (g *cgroup) watch(t *testing.T) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				g.mu.Lock()
				g.peak = max(g.peak, g.now())
				g.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		watching.Wait()
	})
}

// takePeak is the most that was seen since the last call.
func (g *cgroup) takePeak() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	peak := g.peak
	g.peak = 0
	return peak
}

// daemonScript writes a script that enters the group and becomes the daemon.
func (g *cgroup) daemonScript(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "blobd")
	text := fmt.Sprintf("#!/bin/sh\necho $$ > %s/cgroup.procs && exec %s \"$@\"\n", g.dir, binaries.client)
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// newCgroupWorld is newWorld with a daemon that lives in a group of its own, without the race detector.
func newCgroupWorld(t *testing.T, limit int64, s setup) (*world, *cgroup) {
	t.Helper()
	g := newCgroup(t, limit)
	s.plain = true
	w := &world{t: t, reg: registrytest.New(t, s.registry), Host: newHost(t, s)}
	w.Daemon = g.daemonScript(t)
	w.start()
	g.watch(t)
	return w, g
}
