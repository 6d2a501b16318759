package publish_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/blobd/blobd/publish"
)

// peakHeap runs work and returns the most that the heap held meanwhile above what it held before.
func peakHeap(work func()) uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, peak := m.HeapAlloc, uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.GC() // so that only what is held counts
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > before {
				peak = max(peak, m.HeapAlloc-before)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	work()
	close(stop)
	<-done
	return peak
}

// Memory grows neither with the size of files nor with their number, but for two bytes a file.
func TestPackStreams(t *testing.T) {
	big := t.TempDir()
	f, err := os.Create(filepath.Join(big, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	many := t.TempDir()
	for i := range 20_000 {
		dir := filepath.Join(many, fmt.Sprintf("folder-with-a-long-name-%03d", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-with-a-long-name-%06d", i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, dir string
		compress  publish.Compression
		limit     uint64
	}{
		{"a large file", big, publish.CompressNone, 8 << 20},
		{"a large file, compressed", big, publish.CompressZstd, 32 << 20}, // the encoder's window and tables
		{"many files", many, publish.CompressNone, 8 << 20},               // their index has 3 MB, their names and sums as much again
	} {
		t.Run(c.name, func(t *testing.T) {
			var p *publish.Packed
			peak := peakHeap(func() {
				if p, err = newClient(t, publish.Options{}).Pack(t.Context(), c.dir, publish.ArchiveOptions{Compress: c.compress}); err != nil {
					t.Fatal(err)
				}
				for _, b := range p.Artifact().Blobs {
					drain(t, b)
				}
			})
			defer p.Close()
			t.Logf("%d files, %d bytes: at most %d KiB", p.Files, p.Size, peak>>10)
			if peak > c.limit {
				t.Errorf("%d KiB held, more than %d", peak>>10, c.limit>>10)
			}
		})
	}
}

// drain reads a blob as a registry takes it.
func drain(t *testing.T, b publish.Blob) {
	t.Helper()
	r, err := b.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sum := b.Digest.Verifier()
	if n, err := io.Copy(sum, r); err != nil || n != b.Size || !sum.Verified() {
		t.Fatalf("%s: %d bytes of %d: %v", b.Digest, n, b.Size, err)
	}
}
