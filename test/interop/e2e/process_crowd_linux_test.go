package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/test/interop/rig"
)

// needsFiles asks for so many open files, for this process and for the daemons that it starts.
func needsFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max >= n {
		return // Go has raised the limit in force to this one, here and in the daemon
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
		testneed.Missing(t, fmt.Sprintf("it needs %d open files (ulimit -Hn), or to be root", n))
	}
}

// manyFiles are enough for 10,000 connections on each side, with the quarter that a daemon keeps for itself.
const manyFiles = 16_000

const openToMany = "max_connections_per_user: 12000\nmax_calls_per_user: 12000\n"

// hello makes a connection that a daemon of ours keeps, and returns when the daemon has greeted back.
func hello(socket string) (net.Conn, error) {
	conn, err := net.Dial("unix", socket)
	for errors.Is(err, syscall.EAGAIN) { // the accept queue is full
		time.Sleep(time.Millisecond)
		conn, err = net.Dial("unix", socket)
	}
	if err != nil {
		return nil, err
	}
	framer := http2.NewFramer(conn, conn)
	if _, err = io.WriteString(conn, http2.ClientPreface); err == nil {
		err = framer.WriteSettings()
	}
	if err == nil {
		_, err = framer.ReadFrame()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// TestIdleConnections keeps 9,000 connections open: the daemon's memory for them is bounded, those who read are served,
// and when they go what they took comes back.
func TestIdleConnections(t *testing.T) {
	const idle, most = 9000, 64 << 10 // bytes for each
	needsFiles(t, manyFiles)
	w := newWorld(t, setup{plain: true, config: openToMany})
	f := file("f", 1, mib)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
	w.metric("go_goroutines") // what the first look takes is taken before
	before, _, err := w.Memory()
	if err != nil {
		t.Fatal(err)
	}
	threads := w.usage().goroutines
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range idle {
		c, err := hello(w.Socket())
		if err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		conns = append(conns, c)
	}
	if n := w.usage().connections; n != idle {
		t.Errorf("the daemon has %v connections, want %d", n, idle)
	}
	now, _, err := w.Memory()
	if err != nil {
		t.Fatal(err)
	}
	each := (now - before) / idle
	t.Logf("%d idle connections: the daemon takes %d MiB, %d MiB more than without: %d bytes and %.1f goroutines each",
		idle, now/mib, (now-before)/mib, each, (w.usage().goroutines-threads)/idle)
	if each > most {
		t.Errorf("an idle connection takes %d bytes, want at most %d", each, most)
	}
	began := time.Now()
	w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
	t.Logf("a warm cat beside them takes %v", time.Since(began).Round(time.Millisecond))
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "they are gone", func() bool { u := w.usage(); return u.connections == 0 && u.goroutines <= threads+5 })
}

// TestBurst has 10,000 callers connect at one moment, each with the client library, and read: nearly all are served.
func TestBurst(t *testing.T) {
	const burst, served = 10_000, 9_990
	needsFiles(t, manyFiles)
	w := newWorld(t, setup{plain: true, config: openToMany})
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("f", 1, 1000))
	ref := w.ref("acme/app:v1")
	w.run("pull", ref)
	var mu sync.Mutex // guards failed and slowest
	failed := map[string]int{}
	var slowest time.Duration
	gun := make(chan struct{})
	var callers sync.WaitGroup
	for range burst {
		callers.Go(func() {
			<-gun
			began := time.Now()
			err := dialAndPull(t.Context(), w.Socket(), ref)
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, time.Since(began))
			if err != nil {
				failed[err.Error()]++
			}
		})
	}
	began := time.Now()
	close(gun)
	callers.Wait()
	ok := burst
	for _, n := range failed {
		ok -= n
	}
	_, peak, err := w.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d served in %v, the slowest in %v; the daemon took %d MiB at its peak",
		ok, burst, time.Since(began).Round(time.Millisecond), slowest.Round(time.Millisecond), peak/mib)
	if ok < served {
		t.Errorf("%d of %d callers were served, want %d; errors: %v", ok, burst, served, failed)
	}
}

func dialAndPull(ctx context.Context, socket, ref string) error {
	c, err := client.Dial(ctx, client.WithSocket(socket))
	if err != nil {
		return err
	}
	_, err = c.Pull(ctx, ref)
	return errors.Join(err, c.Close())
}

// TestSoftLimitIsRaised starts a daemon with 64 open files as its soft limit: it serves 200 connections.
func TestSoftLimitIsRaised(t *testing.T) {
	t.Parallel()
	needsFiles(t, 1000)
	w := &world{t: t, reg: registrytest.New(t, registrytest.Options{}), Host: newHost(t, setup{plain: true})}
	script := filepath.Join(t.TempDir(), "blobd")
	text := fmt.Sprintf("#!/bin/sh\nulimit -Sn 64 && exec %s \"$@\"\n", w.Daemon)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	w.Daemon = script
	w.start()
	for range 200 {
		c, err := hello(w.Socket())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if n := w.usage().connections; n != 200 {
		t.Errorf("%v connections, want 200", n)
	}
}

// TestUserLimits has a user open as many connections, or calls, as he may: one more is refused at once, with the name of
// the limit; other users don't notice; and when one of his ends he is served again.
func TestUserLimits(t *testing.T) {
	const limit, greedy, other = 5, 4_000_001, 4_000_002
	for key, config := range map[string]string{
		"max_connections_per_user": fmt.Sprintf("max_connections_per_user: %d\n", limit),
		"max_calls_per_user":       fmt.Sprintf("max_calls_per_user: %d\n", limit),
	} {
		t.Run(key, func(t *testing.T) {
			testneed.Root(t)
			t.Parallel()
			w := newWorld(t, setup{config: config})
			openToOthers(t, w.Host)
			f, g := file("f", 1, 64*mib), file("g", 2, 100_000)
			push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f, g)
			ref := w.ref("acme/app:v1")
			w.reads(content(g), "cat", ref, "g")
			w.reg.Throttle(mib)
			as := func(uid uint32, args ...string) *exec.Cmd {
				cmd := w.Command(t.Context(), args...)
				cmd.Dir = "/"
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
				return cmd
			}
			var open []*exec.Cmd
			for range limit {
				cat := as(greedy, "cat", ref, "f")
				out, err := cat.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cat.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = cat.Process.Kill(); _ = cat.Wait() }()
				if _, err := io.ReadFull(out, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				open = append(open, cat)
			}
			for range 3 {
				oneLine(t, rig.Run(as(greedy, "cat", ref, "g")), 9, key)
			}
			for _, uid := range []uint32{other, 0} {
				r := rig.Run(as(uid, "cat", ref, "g"))
				if r.Exit != 0 {
					t.Errorf("uid %d: exit code %d: %s", uid, r.Exit, r.Stderr)
				}
				same(t, fmt.Sprintf("uid %d", uid), r.Stdout, content(g))
			}
			if err := open[0].Process.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "he is served again", func() bool { return rig.Run(as(greedy, "cat", ref, "g")).Exit == 0 })
			if refused := w.metric("blobd_connections_refused_total"); (refused > 0) != strings.Contains(key, "connections") {
				t.Errorf("%v connections were refused", refused)
			}
		})
	}
}

// openToOthers lets other users run the commands and reach the socket.
func openToOthers(t *testing.T, h *rig.Host) {
	t.Helper()
	build := filepath.Dir(binaries.client)
	for _, dir := range []string{h.Dir, build, filepath.Dir(build)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
