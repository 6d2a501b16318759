package e2e

import (
	"io"
	"sync"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
)

const mib = 1 << 20

// peak is the most memory that the daemon took since the last call of ResetPeak, in MiB.
func (w *world) peak() int64 {
	w.t.Helper()
	_, peak, err := w.Memory()
	if err != nil {
		w.t.Fatal(err)
	}
	return peak / mib
}

func needsProc(t *testing.T) {
	t.Helper()
	testneed.Linux(t) // a process's memory is read from /proc
}

// TestIdleMemory measures a daemon with an empty cache.
func TestIdleMemory(t *testing.T) {
	needsProc(t)
	w := newWorld(t, setup{plain: true})
	w.run("healthcheck")
	if got := w.peak(); got >= 40 {
		t.Errorf("an idle daemon takes %d MiB, want less than 40", got)
	} else {
		t.Logf("%d MiB", got)
	}
}

// TestListingMemory lists 200,000 files.
func TestListingMemory(t *testing.T) {
	needsProc(t)
	t.Parallel()
	w := newWorld(t, setup{plain: true})
	push(t, w.reg.PushHost(), "acme/many:v1", archivetest.Options{}, archivetest.Many(200_000)...)
	lines := 0
	for _, b := range w.run("ls", "-R", w.ref("acme/many:v1")) {
		if b == '\n' {
			lines++
		}
	}
	if lines < 200_000 {
		t.Errorf("ls -R wrote %d lines", lines)
	}
	if got := w.peak(); got >= 200 {
		t.Errorf("the daemon took %d MiB, want less than 200", got)
	} else {
		t.Logf("%d MiB", got)
	}
}

// TestStreamMemory has eight readers read one large compressed file at once, cold: 4 GiB in the long run.
func TestStreamMemory(t *testing.T) {
	needsProc(t)
	t.Parallel()
	size := int64(256 * mib)
	if long {
		size = 4 << 30
	}
	w := newWorld(t, setup{plain: true, registry: registrytest.Options{Dir: t.TempDir()}})
	f := file("f", 1, size)
	push(t, w.reg.PushHost(), "acme/big:v1", archivetest.Options{Zstd: true}, file("a", 2, 1000), f)
	want := sum(t, tiledAgain(f))
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			cat := w.Command(t.Context(), "cat", w.ref("acme/big:v1"), "f")
			out, err := cat.StdoutPipe()
			if err != nil {
				t.Error(err)
				return
			}
			if err := cat.Start(); err != nil {
				t.Error(err)
				return
			}
			if i == 0 {
				if got := sum(t, out); got != want {
					t.Errorf("the wrong bytes: %s, want %s", got, want)
				}
			} else if n, err := io.Copy(io.Discard, out); err != nil || n != size {
				t.Errorf("%d bytes, %v", n, err)
			}
			if err := cat.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	if got := w.peak(); got >= 200 {
		t.Errorf("the daemon took %d MiB, want less than 200", got)
	} else {
		t.Logf("%d MiB", got)
	}
	costs(t, "eight readers, cold", w.reg.Proxy, coldByTag)
}
