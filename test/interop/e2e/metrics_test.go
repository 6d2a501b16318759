package e2e

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/testneed"
)

// series are the names and labels of all that /metrics has, sorted.
func (w *world) series() []string {
	w.t.Helper()
	samples, err := w.Metrics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(samples))
}

// sameSeries fails the test when series came or went.
func sameSeries(t *testing.T, what string, before, after []string) {
	t.Helper()
	for _, s := range after {
		if _, found := slices.BinarySearch(before, s); !found {
			t.Errorf("%s: %s came", what, s)
		}
	}
	for _, s := range before {
		if _, found := slices.BinarySearch(after, s); !found {
			t.Errorf("%s: %s went", what, s)
		}
	}
}

// TestMetricsFromTheStart reads the metrics of a daemon that nobody has asked for anything, has it do all kinds of things,
// and finds the same series afterwards. promtool has nothing to say against any of them.
func TestMetricsFromTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{config: "max_size: 1MiB\nregistries: {r.example: {mirrors: [m.example]}}\n"})
	start := w.series()

	files := []archivetest.File{file("a", 1, 300_000), file("b", 2, 400_000), file("c", 3, 500_000)}
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, files...)
	for _, f := range files { // together more than the cache holds
		for range 2 {
			w.reads(content(f), "cat", w.ref("acme/app:v1"), f.Path)
		}
	}
	w.run("ls", "-R", w.ref("acme/app:v1"))
	w.run("pull", "--max-age", "0", w.ref("acme/app:v1"))
	w.run("cache", "verify")
	w.run("cache", "clear")
	w.run("status")
	for _, args := range [][]string{
		{"pull", w.ref("acme/none:v1")}, {"pull", "not a reference"}, {"cat", w.ref("acme/app:v1"), "none"}, {"cache", "rm", w.ref("acme/none:v1")},
	} {
		if r := w.Run(t.Context(), args...); r.Exit == 0 {
			t.Errorf("blobd %s: exit code 0", strings.Join(args, " "))
		}
	}
	for _, moved := range []string{
		`blobd_cache_requests_total{cache="content",result="hit"}`, `blobd_cache_requests_total{cache="content",result="miss"}`,
		`blobd_cache_evictions_total{cache="content",reason="size"}`, `blobd_cache_evictions_total{cache="content",reason="removed"}`,
		"blobd_storage_bytes", `blobd_upstream_requests_total{code="404"`, `grpc_server_handled_total{grpc_code="InvalidArgument"`,
	} {
		if w.metric(moved) == 0 {
			t.Errorf("%s is 0: this test does not do what it should", moved)
		}
	}
	sameSeries(t, "all kinds of calls", start, w.series())

	check := exec.CommandContext(t.Context(), testneed.Command(t, "promtool", "Debian package prometheus"), "check", "metrics")
	_, text, err := w.Get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, out)
	}
}

// TestMetricsOfState: what alerts look at says what is so.
func TestMetricsOfState(t *testing.T) {
	t.Parallel()
	const config = "ttl: {default: 1ms}\nmax_size: 64MiB\n"
	w := newWorld(t, setup{config: config})
	is := func(when, metric string, want float64) {
		t.Helper()
		if got := w.metric(metric); got != want {
			t.Errorf("%s: %s is %v, want %v", when, metric, got, want)
		}
	}
	a := file("a", 1, 100_000)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, a)
	w.reads(content(a), "cat", w.ref("acme/app:v1"), "a")
	is("serving", "blobd_ready", 1)
	is("serving", "blobd_storage_limit_bytes", 64<<20)
	is("serving", "blobd_stale_answers_total", 0)
	for _, size := range []string{"blobd_storage_bytes", "blobd_disk_free_bytes", "blobd_disk_min_free_bytes", "process_start_time_seconds"} {
		if w.metric(size) <= 0 {
			t.Errorf("%s is %v", size, w.metric(size))
		}
	}
	eventually(t, "the scan is over", func() bool { return w.metric("blobd_cache_scanning") == 0 })

	w.reg.Stop()
	w.reads(content(a), "cat", w.ref("acme/app:v1"), "a")
	is("the registry is down", "blobd_stale_answers_total", 1)
	is("the registry is down", "blobd_ready", 1)

	is("at the start", "blobd_config_last_reload_successful", 1)
	reload := func(config string, want float64) {
		t.Helper()
		if err := os.WriteFile(w.ConfigFile(), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the reload", func() bool { return w.metric("blobd_config_last_reload_successful") == want })
	}
	reload("no_such_key: 1\n", 0)
	reload(config, 1)
}

// TestReadyMetric: while calls under way are let end, the daemon is not ready, and says so.
func TestReadyMetric(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	f := file("f", 1, 3*mib)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	w.reg.HoldAfter(mib)
	cat := w.Command(t.Context(), "cat", w.ref("acme/app:v1"), "f")
	var out bytes.Buffer
	cat.Stdout = &out
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the read is under way", func() bool { return w.metric("blobd_flights") > 0 && w.reg.Counts().Bytes >= mib })
	if got := w.metric("blobd_ready"); got != 1 {
		t.Errorf("blobd_ready is %v while it serves", got)
	}
	if err := w.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "blobd_ready says 0", func() bool { return w.metric("blobd_ready") == 0 })
	w.reg.Release()
	if err := errors.Join(cat.Wait(), w.AwaitExit(within)); err != nil {
		t.Error(err)
	}
	same(t, "the read", out.Bytes(), content(f))
}
