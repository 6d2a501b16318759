package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestManyEntries starts a daemon on a cache that holds 100,000 entries (1,000,000 in the long run): it is ready within
// two seconds, with a scan that goes on behind, and its heap takes at most 128 bytes for each. So it is again once it has
// been stopped in order, and after kill -9.
func TestManyEntries(t *testing.T) {
	needsProc(t)
	entries := 100_000
	if long {
		entries = 1_000_000
	}
	profiles := freeAddress(t)
	w := &world{t: t, Host: newHost(t, setup{plain: true, config: "pprof_addr: " + profiles + "\n"})}
	w.start()
	base := w.heap(profiles)
	w.stop()
	fill(t, filepath.Join(w.Cache(), "content"), entries)
	for _, life := range []string{"a first scan", "a clean restart", "after kill -9"} {
		began := time.Now()
		w.start()
		ready := time.Since(began)
		if ready > 2*time.Second {
			t.Errorf("%s: ready after %v, want 2 s at most", life, ready)
		}
		scanned := w.awaitScan(entries)
		each, peak := (w.heap(profiles)-base)/int64(entries), w.peak()
		t.Logf("%s: ready after %v, scanned after %v, %d bytes an entry; the process took %d MiB", life, ready, scanned, each, peak)
		if each > 128 {
			t.Errorf("%s: %d bytes of memory an entry, want 128 at most", life, each)
		}
		if life == "a clean restart" {
			w.kill()
		} else {
			w.stop()
		}
	}
}

// awaitScan waits until the daemon knows all entries, and returns how long that took.
func (w *world) awaitScan(entries int) time.Duration {
	w.t.Helper()
	began := time.Now()
	eventually(w.t, "the scan is over", func() bool {
		var status struct {
			Scanning bool
			Caches   []struct {
				Name    string
				Entries int
			}
		}
		if err := json.Unmarshal(w.run("cache", "status", "-o", "json"), &status); err != nil {
			w.t.Fatal(err)
		}
		for _, c := range status.Caches {
			if c.Name == "content" && c.Entries == entries {
				return !status.Scanning
			}
		}
		return false
	})
	return time.Since(began)
}

// heap is what the daemon's heap holds after a collection, in bytes; profiles is where its profiles are.
func (w *world) heap(profiles string) int64 {
	w.t.Helper()
	if status, _ := profile(w.t, profiles, profiles, "heap?gc=1"); status != http.StatusOK {
		w.t.Fatalf("the heap's profile: %d", status)
	}
	return int64(w.metric("go_memstats_heap_alloc_bytes"))
}

// fill puts entries of one byte each into the folder of a cache, as if a daemon had.
func fill(t *testing.T, dir string, entries int) {
	t.Helper()
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range entries {
		hex := digest.FromString(fmt.Sprint(i)).Encoded()
		if err := os.WriteFile(filepath.Join(dir, hex[:2], "sha256-"+hex), []byte{0}, 0o400); err != nil {
			t.Fatal(err)
		}
	}
}
