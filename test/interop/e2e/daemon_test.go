package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/test/interop/rig"
)

// TestSecondDaemonRefused starts a daemon on the cache folder, and one on the socket, of a daemon that runs: both are
// refused with its pid, and it goes on.
func TestSecondDaemonRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	other, err := rig.NewHost(binaries.client)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	pid := fmt.Sprint(w.PID())
	for name, args := range map[string][]string{
		"cache folder": {"--cache-dir", w.Cache(), "--socket", other.Socket()},
		"socket":       {"--cache-dir", other.Cache(), "--socket", w.Socket()},
	} {
		oneLine(t, other.Run(t.Context(), append([]string{"serve", "--http-addr", "off"}, args...)...), 1, pid)
		if r := w.Run(t.Context(), "healthcheck"); r.Exit != 0 {
			t.Errorf("after a second daemon on the %s: %s", name, r.Stderr)
		}
	}
	w.kill()
	w.start() // neither the lock nor the socket of a daemon that was killed is in the way
}

// TestReload changes the configuration of a running daemon: what can change does, what can't is named in the log, and a
// configuration that is wrong changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("f", 1, 1000))
	w.run("pull", w.ref("acme/app:v1"))
	w.reg.Reset()
	reload := func(config, says string) {
		t.Helper()
		before := strings.Count(w.Log(), says)
		if err := os.WriteFile(w.ConfigFile(), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log says "+says, func() bool { return strings.Count(w.Log(), says) > before })
	}
	w.run("pull", w.ref("acme/app:v1"))
	costs(t, "before", w.reg.Proxy, nothing)
	reload("ttl: {default: always}\nmax_size: 5GiB\nlog: {level: debug}\nidle_timeout: 2m\n", `"idle_timeout"`)
	w.run("pull", w.ref("acme/app:v1"))
	costs(t, "with a TTL of always", w.reg.Proxy, oneHead)
	if v := w.metric(`blobd_cache_limit_bytes{cache="content"}`); v > 5<<30 || v < 4.9*(1<<30) {
		t.Errorf("content may take %v bytes, want 5 GiB but for what the rest needs", v)
	}
	reload("ttl: {default: always}\nnonsense: true\n", "nonsense")
	var status struct{ Config string }
	if err := json.Unmarshal(w.run("status", "-o", "json"), &status); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(status.Config, "max_size: 5GiB") {
		t.Errorf("after a wrong configuration: %s", status.Config)
	}
	for line := range strings.Lines(w.Log()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the log holds a line that is no JSON: %s", line)
		}
	}
}

// TestDrain stops a daemon in the middle of a read: the read goes on to its end, new calls are refused, and the daemon
// ends with exit code 0.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	f := file("f", 1, 8<<20)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	w.run("pull", w.ref("acme/app:v1"))
	w.reg.HoldAfter(1 << 20)
	cat := w.Command(t.Context(), "cat", w.ref("acme/app:v1"), "f")
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	begin := make([]byte, 100_000)
	if _, err := io.ReadFull(out, begin); err != nil {
		t.Fatal(err)
	}
	if err := w.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz says no", func() bool {
		status, _, err := w.Get(t.Context(), "/readyz")
		return err == nil && status == http.StatusServiceUnavailable
	})
	if status, _, err := w.Get(t.Context(), "/livez"); err != nil || status != http.StatusOK {
		t.Errorf("/livez while draining: %d, %v", status, err)
	}
	if r := w.Run(t.Context(), "pull", w.ref("acme/app:v1")); r.Exit != 6 {
		t.Errorf("a new call while draining: exit code %d, want 6: %s", r.Exit, r.Stderr)
	}
	w.reg.Release()
	same(t, "the read under way", append(begin, readAll(t, out)...), content(f))
	if err := cat.Wait(); err != nil {
		t.Error(err)
	}
	if err := w.AwaitExit(within); err != nil {
		t.Errorf("the daemon's end: %v", err)
	}
	if _, err := os.Stat(w.Socket()); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestKilledMidway kills the daemon with kill -9 while it fetches, again and again: no start fails, no temp file stays,
// every read afterwards is right, and what was fetched before is kept.
func TestKilledMidway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	f := file("f", 1, 8<<20)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("a", 2, 1000), f)
	ref := w.ref("acme/app:v1")
	for i := range 5 {
		w.reg.HoldAfter(int64(i+1) << 20)
		ctx, cancel := context.WithCancel(t.Context())
		cat := w.Command(ctx, "cat", ref, "f")
		out, err := cat.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cat.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 512<<10)); err != nil {
			t.Fatal(err)
		}
		w.kill()
		cancel()
		_ = cat.Wait() // it lost its daemon
		w.reg.Release()
		w.start()
	}
	w.reg.Reset()
	w.reads(content(f), "cat", ref, "f")
	if c := w.reg.Counts(); c.Bytes >= 8<<20 {
		t.Errorf("%d bytes came again: nothing of what was fetched before is kept", c.Bytes)
	}
	w.stop()
	if names := tempFiles(t, w.Cache()); len(names) > 0 {
		t.Errorf("files of a crash are left: %v", names)
	}
}

// TestHealth asks for all that probes ask for.
func TestHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if status, body, err := w.Get(t.Context(), path); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d %q %v", path, status, body, err)
		}
	}
	w.reg.Stop() // which readiness is not about
	w.run("healthcheck")
	w.run("status")
	w.run("cache", "status")
	if got := strings.TrimSpace(string(w.run("cache", "path"))); got != w.Cache() {
		t.Errorf("cache path: %q, want %q", got, w.Cache())
	}
	w.run("version")
}
