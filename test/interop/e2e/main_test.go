// Package e2e holds the blobd binary against what it must show: the daemon and its client commands as processes, real
// registries behind a proxy that counts, archives from the published library or as its writer makes them.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/rig"
)

// binaries are what TestMain built, read-only afterwards.
var binaries struct {
	client string // without the race detector: fifty of them start at once
	daemon string // with it, when this test has it or BLOBD_TEST_RACE asks for it
}

// long asks for the tests that take minutes: make test-long.
var long = os.Getenv("BLOBD_TEST_LONG") != ""

// within is how long anything may take that is waited for, on a machine that is busy with other tests.
const within = time.Minute

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "blobd-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if binaries.client, err = rig.Build(context.Background(), filepath.Join(dir, "plain"), false); err != nil {
		return 0, err
	}
	binaries.daemon = binaries.client
	if raceDetector || os.Getenv("BLOBD_TEST_RACE") != "" {
		if binaries.daemon, err = rig.Build(context.Background(), filepath.Join(dir, "race"), true); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

// world is one registry and one host, whose daemon runs.
type world struct {
	*rig.Host
	t   *testing.T
	reg *registrytest.Registry
}

// setup says how a world differs from the default one.
type setup struct {
	registry registrytest.Options
	config   string   // of the daemon
	flags    []string // of serve
	plain    bool     // a daemon without the race detector: its memory and speed are measured
}

// newWorld returns a world with a running daemon. It ends with the test, which fails when a daemon reported a data race
// or a panic.
func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, reg: registrytest.New(t, s.registry), Host: newHost(t, s)}
	w.start()
	return w
}

func newHost(t *testing.T, s setup) *rig.Host {
	t.Helper()
	h, err := rig.NewHost(binaries.client)
	if err != nil {
		t.Fatal(err)
	}
	if !s.plain {
		h.Daemon = binaries.daemon
	}
	h.Config, h.Flags = s.config, s.flags
	t.Cleanup(func() {
		if err := h.Kill(); err != nil {
			t.Error(err)
		}
		log := h.Log()
		for _, bad := range []string{"DATA RACE", "panic", "fatal error"} {
			if strings.Contains(log, bad) {
				t.Errorf("the daemon's log holds %q", bad)
			}
		}
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", log[max(0, len(log)-16<<10):])
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (w *world) start() {
	w.t.Helper()
	if err := w.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.Stop(); err != nil {
		w.t.Fatalf("the daemon's end: %v: %s", err, w.Log())
	}
}

func (w *world) kill() {
	w.t.Helper()
	if err := w.Kill(); err != nil {
		w.t.Fatal(err)
	}
}

// restart stops the daemon and starts it with this configuration.
func (w *world) restart(config string) {
	w.t.Helper()
	w.stop()
	w.Config = config
	w.start()
}

// ref is a reference to the world's registry.
func (w *world) ref(name string) string { return w.reg.Host() + "/" + name }

// run runs a client command that must succeed, and returns its stdout.
func (w *world) run(args ...string) []byte {
	w.t.Helper()
	r := w.Run(w.t.Context(), args...)
	if r.Exit != 0 {
		w.t.Fatalf("blobd %s: exit code %d: %s", strings.Join(args, " "), r.Exit, r.Stderr)
	}
	return r.Stdout
}

// reads runs a client command that must succeed with this on stdout.
func (w *world) reads(want []byte, args ...string) {
	w.t.Helper()
	same(w.t, "blobd "+strings.Join(args, " "), w.run(args...), want)
}

// metric sums up the samples whose name begins with prefix.
func (w *world) metric(prefix string) (sum float64) {
	w.t.Helper()
	samples, err := w.Metrics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for name, v := range samples {
		if strings.HasPrefix(name, prefix) {
			sum += v
		}
	}
	return sum
}

// costs compares what reached the registry since the last call of costs, but for bytes, and starts to count anew.
func costs(t *testing.T, what string, p *registrytest.Proxy, want registrytest.Counts) {
	t.Helper()
	got := p.Counts()
	got.Bytes, want.Bytes = 0, 0
	for _, r := range p.Requests() {
		if r.Method == http.MethodHead && r.Status == http.StatusUnauthorized {
			got.Head-- // a challenge, which is counted as such
		}
	}
	if got != want {
		t.Errorf("%s: upstream saw %+v, want %+v:\n%s", what, got, want, listed(p))
	}
	p.Reset()
}

// listed is the requests at a proxy, one a line.
func listed(p *registrytest.Proxy) string {
	var b strings.Builder
	for _, r := range p.Requests() {
		fmt.Fprintf(&b, "\t%s %s %s → %d, %d bytes\n", r.Method, r.Path, r.Range, r.Status, r.Bytes)
	}
	return b.String()
}

// What operations cost upstream.
var (
	nothing      = registrytest.Counts{}
	coldByTag    = registrytest.Counts{Tag: 1, Head: 1, Manifest: 1, Blob: 1, Range: 1}
	coldByDigest = registrytest.Counts{Manifest: 1, Blob: 1, Range: 1}
	oneHead      = registrytest.Counts{Tag: 1, Head: 1}
)

// same compares bytes without printing megabytes.
func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s: %d bytes, want %d, different from byte %d on", what, len(got), len(want), at)
}

// eventually waits until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in %v: %s", within, what)
		}
	}
}

// readAll reads r to its end.
func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
