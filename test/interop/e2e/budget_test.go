package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

// TestBudget reads ten times what the cache may hold, by several readers, whole files and parts, while the folder's disk
// use is sampled ten times a second: it never passes the limit, with a kill -9 in between. A file that is read often
// stays.
func TestBudget(t *testing.T) {
	sizes := map[string]int64{"64MiB": 64 << 20}
	if long {
		sizes["10GiB"] = 10 << 30
	}
	for name, limit := range sizes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{registry: registrytest.Options{Dir: t.TempDir()}, flags: []string{"--max-size", name}})
			const archives, files = 10, 16
			hot := file("hot", 99, limit/100)
			push(t, w.reg.PushHost(), "acme/hot:v1", archivetest.Options{}, hot)
			w.run("pull", "--all", w.ref("acme/hot:v1"))

			watch := sampleUse(t, w.Cache(), limit)
			load := func(i int) {
				var list []archivetest.File
				for k := range files {
					list = append(list, file(fmt.Sprintf("f%02d", k), uint64(1+i*files+k), limit/files))
				}
				repository := fmt.Sprintf("acme/load%d", i)
				push(t, w.reg.PushHost(), repository+":v1", archivetest.Options{}, list...)
				ref := w.ref(repository + ":v1")
				var readers sync.WaitGroup
				for part := range 2 { // the readers share one half of the files
					readers.Go(func() {
						for k := part * files / 4; k < files*(3+part)/4; k++ {
							w.sums(list[k], ref)
						}
					})
				}
				ended := make(chan struct{})
				go func() {
					readers.Wait()
					close(ended)
				}()
				// The file that is read often is so for as long as the others are read: left alone, it would rightly go.
				for k := 0; ; k++ {
					if k < files {
						w.reads(part(t, list[k], limit/files/2, 100_000),
							"cat", "--offset", fmt.Sprint(limit/files/2), "--length", "100000", ref, list[k].Path)
					}
					w.run("cat", w.ref("acme/hot:v1"), "hot")
					select {
					case <-ended:
						if k >= files {
							return
						}
					default:
					}
				}
			}
			for i := range archives {
				load(i)
				if i == archives/2 {
					w.kill()
					w.start()
				}
			}
			watch.end()

			w.reg.Reset()
			w.reads(content(hot), "cat", w.ref("acme/hot:v1"), "hot")
			costs(t, "the file that was read often", w.reg.Proxy, nothing)
			if w.metric(`blobd_cache_evictions_total`) == 0 {
				t.Error("nothing was evicted")
			}
			counted := w.metric("blobd_cache_bytes")
			if used, _, err := diskUse(w.Cache()); err != nil || counted > float64(used)*1.1 || counted < float64(used)*.9 {
				t.Errorf("blobd counts %v bytes, the disk %d: %v", counted, used, err)
			}
		})
	}
}

// sums reads a file and compares digests: there may be too many bytes to keep.
func (w *world) sums(f archivetest.File, ref string) {
	cmd := w.Command(w.t.Context(), "cat", ref, f.Path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		w.t.Error(err)
		return
	}
	got, want := sum(w.t, out), sum(w.t, tiledAgain(f))
	if err := cmd.Wait(); err != nil || got != want {
		w.t.Errorf("cat %s %s: %v, right: %v", ref, f.Path, err, got == want)
	}
}

// sampler looks at a folder's disk use ten times a second.
type sampler struct {
	t       *testing.T
	stop    context.CancelFunc
	stopped chan struct{}
	most    int64
	samples int
}

// sampleUse begins to look; the test fails when the use is ever above limit.
func sampleUse(t *testing.T, dir string, limit int64) *sampler {
	ctx, cancel := context.WithCancel(t.Context())
	s := &sampler{t: t, stop: cancel, stopped: make(chan struct{})}
	go func() {
		defer close(s.stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			used, files, err := diskUse(dir)
			if err != nil {
				t.Error(err)
				return
			}
			if s.samples++; used > s.most {
				if s.most = used; used > limit {
					t.Errorf("the cache folder takes %d bytes in %d files, %d more than its limit", used, files, used-limit)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

func (s *sampler) end() {
	s.t.Helper()
	s.stop()
	<-s.stopped
	s.t.Logf("%d samples, at most %d bytes", s.samples, s.most)
}

// TestTooLarge reads a file that is larger than the whole cache: it passes through, and the limit holds.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	const limit = 16 << 20
	w := newWorld(t, setup{flags: []string{"--max-size", "16MiB"}})
	f := file("f", 1, 40<<20)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("a", 2, 1000), f)
	push(t, w.reg.PushHost(), "acme/zstd:v1", archivetest.Options{Zstd: true}, file("a", 2, 1000), f)
	watch := sampleUse(t, w.Cache(), limit)
	for _, name := range []string{"acme/app:v1", "acme/zstd:v1"} {
		w.reg.Reset()
		w.sums(f, w.ref(name))
		if c := w.reg.Counts(); c.Bytes > 41<<20 {
			t.Errorf("%s: %d bytes came for one read:\n%s", name, c.Bytes, listed(w.reg.Proxy))
		}
	}
	watch.end()
}

// TestPinStays pins an artifact, and fills the cache ten times over with a kill -9 before: all of it is still there.
func TestPinStays(t *testing.T) {
	t.Parallel()
	const limit = 16 << 20
	w := newWorld(t, setup{flags: []string{"--max-size", "16MiB"}})
	pinned := []archivetest.File{file("one", 1, 1<<20), file("two", 2, 1<<20)}
	push(t, w.reg.PushHost(), "acme/pinned:v1", archivetest.Options{Zstd: true}, pinned...)
	ref := w.ref("acme/pinned:v1")
	w.run("pin", ref)
	w.run("prefetch", ref)
	w.kill()
	w.start()
	watch := sampleUse(t, w.Cache(), limit)
	fill := func(i int) {
		t.Helper()
		var list []archivetest.File
		for k := range 8 {
			list = append(list, file(fmt.Sprintf("f%d", k), uint64(100+10*i+k), limit/8))
		}
		name := fmt.Sprintf("acme/fill%d:v1", i)
		push(t, w.reg.PushHost(), name, archivetest.Options{}, list...)
		w.run("prefetch", w.ref(name))
	}
	for i := range 10 {
		fill(i)
	}
	w.reg.Reset()
	for _, f := range pinned {
		w.reads(content(f), "cat", ref, f.Path)
	}
	costs(t, "what is pinned, after ten fills", w.reg.Proxy, nothing)

	if r := w.Run(t.Context(), "cache", "clear"); r.Exit != 0 {
		t.Errorf("cache clear: %s", r.Stderr)
	} else if text := string(r.Stdout); !contains(text, "pinned") {
		t.Errorf("cache clear does not say what it kept: %s", text)
	}
	w.reg.Stop() // tags are cleared; what is pinned is there by its digest
	var digest string
	for _, a := range w.artifacts() {
		if a.Pinned {
			digest = a.Reference
		}
	}
	if digest == "" {
		t.Fatal("cache ls shows no pin")
	}
	for _, f := range pinned {
		w.reads(content(f), "cat", digest, f.Path)
	}
	if err := w.reg.Start(); err != nil {
		t.Fatal(err)
	}

	w.run("unpin", digest)
	for i := range 3 {
		fill(20 + i)
	}
	watch.end()
	w.reg.Reset()
	w.reads(content(pinned[0]), "cat", ref, "one")
	if c := w.reg.Counts(); c.Range == 0 {
		t.Error("unpinned, and still there after three fills")
	}
}

// TestPinBeyondBudget pins what would not fit: refused, and nothing is pinned.
func TestPinBeyondBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{flags: []string{"--max-size", "16MiB"}})
	push(t, w.reg.PushHost(), "acme/big:v1", archivetest.Options{}, file("f", 1, 20<<20))
	oneLine(t, w.Run(t.Context(), "pin", w.ref("acme/big:v1")), 5, "acme/big")
	for _, a := range w.artifacts() {
		if a.Pinned {
			t.Errorf("pinned: %+v", a)
		}
	}
}
