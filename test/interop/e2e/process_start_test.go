package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
)

// slowToOpen writes a script that becomes the daemon, under a tracer that has the lock of the cache folder take so many
// seconds: a disk that is slow to open the cache.
func slowToOpen(t *testing.T, w *world, seconds int) (script string) {
	t.Helper()
	testneed.Linux(t)
	strace := testneed.Command(t, "strace", "Debian package strace")
	name := filepath.Join(t.TempDir(), "blobd")
	text := fmt.Sprintf("#!/bin/sh\nexec %s -D -f -qq -o /dev/null -P %s -e trace=openat -e inject=openat:delay_enter=%d000000 %s \"$@\"\n",
		strace, filepath.Join(w.Cache(), "LOCK"), seconds, w.Daemon)
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestStarting has a daemon take five seconds to open its cache: it lives and is not ready, a probe says so, a caller
// without patience is told that it is starting, and a client comes again until it is served.
func TestStarting(t *testing.T) {
	t.Parallel()
	w := &world{t: t, reg: registrytest.New(t, registrytest.Options{}), Host: newHost(t, setup{plain: true})}
	f := file("f", 1, 1000)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	w.Daemon = slowToOpen(t, w, 5)
	if err := w.Launch(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process answers", func() bool {
		status, _, err := w.Get(t.Context(), "/livez")
		return err == nil && status == http.StatusOK
	})
	if status, body, err := w.Get(t.Context(), "/readyz"); err != nil || status != http.StatusServiceUnavailable ||
		!strings.Contains(body, "store: starting") {
		t.Errorf("/readyz: %d %q, %v", status, body, err)
	}
	if r := w.Run(t.Context(), "healthcheck"); r.Exit != 6 || !strings.Contains(r.Stderr, "not serving") {
		t.Errorf("healthcheck: exit code %d: %s", r.Exit, r.Stderr)
	}
	w.reads(content(f), "cat", w.ref("acme/app:v1"), "f") // which comes again, and is served
	if n := w.metric(`grpc_server_handled_total{grpc_code="Unavailable"`); n == 0 {
		t.Error("no call was told STARTING: this test shows nothing")
	}
	if err := w.AwaitReady(t.Context()); err != nil {
		t.Error(err)
	}
	w.run("healthcheck")
	w.stop()
}

// TestStartingTooLong has it take longer than clients are willing to wait: they say why.
func TestStartingTooLong(t *testing.T) {
	t.Parallel()
	w := &world{t: t, reg: registrytest.New(t, registrytest.Options{}), Host: newHost(t, setup{plain: true})}
	w.Daemon = slowToOpen(t, w, 12)
	if err := w.Launch(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process answers", func() bool {
		status, _, err := w.Get(t.Context(), "/livez")
		return err == nil && status == http.StatusOK
	})
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	oneLine(t, w.Run(ctx, "pull", w.ref("acme/app:v1")), 6, "starting")
}
