package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/peer"
	"github.com/blobd/blobd/test/interop/rig"
)

// crowd is how many processes read at once.
const crowd = 50

// atOnce runs a command in each of n processes; started is called when all of them wait for an answer to method,
// without which none can end.
func (w *world) atOnce(n int, args func(i int) []string, method string, started func()) []rig.Result {
	w.t.Helper()
	results := make([]rig.Result, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { results[i] = w.Run(w.t.Context(), args(i)...) })
	}
	eventually(w.t, "all processes wait", func() bool { return w.called(method) >= n })
	started()
	all.Wait()
	return results
}

// called is how many calls of a method the daemon has begun.
func (w *world) called(method string) (n int) {
	w.t.Helper()
	samples, err := w.Metrics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for name, v := range samples {
		if strings.HasPrefix(name, "grpc_server_started_total{") && strings.Contains(name, `grpc_method="`+method+`"`) {
			n += int(v)
		}
	}
	return n
}

// TestCrowdCold has fifty processes read one file of an archive that nobody has read before: the registry sees what one
// reader costs.
func TestCrowdCold(t *testing.T) {
	for _, c := range []peer.Compression{peer.Stored, peer.Zstd} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			f := archivetest.File{Path: "f", Content: archivetest.Compressible(1, 2<<20)}
			pushByPeer(t, w.reg.PushHost(), "acme/app:v1", c, file("a", 2, 100_000), f, file("z", 3, 100_000))
			w.reg.HoldAfter(0) // the index is held back until all have asked
			results := w.atOnce(crowd, func(int) []string { return []string{"cat", w.ref("acme/app:v1"), "f"} },
				"Pull", w.reg.Release)
			for i, r := range results {
				if r.Exit != 0 || !bytes.Equal(r.Stdout, content(f)) {
					t.Errorf("process %d: exit code %d, %d bytes, right: %v: %s",
						i, r.Exit, len(r.Stdout), bytes.Equal(r.Stdout, content(f)), r.Stderr)
				}
			}
			costs(t, "fifty cold readers", w.reg.Proxy, coldByTag)
			if w.metric("blobd_flight_joins_total") == 0 {
				t.Error("nobody joined a flight: the readers were not at once")
			}
		})
	}
}

// TestCrowdOverlapping has fifty processes read overlapping ranges of one stored file of 64 MiB: no byte of it comes
// twice, and none that nobody asked for but the rest of the first and last block.
func TestCrowdOverlapping(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{registry: registrytest.Options{Dir: t.TempDir()}})
	const size, length, step = 64 << 20, 4 << 20, 1_000_003
	f := file("f", 1, size)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("a", 2, 1000), f, file("z", 3, 1000))
	w.run("pull", w.ref("acme/app:v1"))
	w.reg.Reset()
	offset := func(i int) int64 { return int64(i) * step }
	w.reg.HoldAfter(0)
	results := w.atOnce(crowd, func(i int) []string {
		return []string{"cat", "--offset", fmt.Sprint(offset(i)), "--length", fmt.Sprint(length), w.ref("acme/app:v1"), "f"}
	}, "ReadFile", w.reg.Release)
	for i, r := range results {
		if r.Exit != 0 {
			t.Errorf("process %d: exit code %d: %s", i, r.Exit, r.Stderr)
			continue
		}
		same(t, fmt.Sprintf("process %d", i), r.Stdout, part(t, f, offset(i), length))
	}
	moved := spans(t, w.reg.Proxy)
	slices.SortFunc(moved, func(a, b span) int { return int(a.first - b.first) })
	var total int64
	for i, s := range moved {
		total += s.last - s.first + 1
		if i > 0 && s.first <= moved[i-1].last {
			t.Errorf("bytes %d to %d came again with %d to %d", s.first, moved[i-1].last, s.first, s.last)
		}
	}
	const block = 64 << 10
	asked := offset(crowd-1) + length
	if total < asked || total > asked+2*block {
		t.Errorf("%d bytes moved for %d that were asked for", total, asked)
	}
	c := w.reg.Counts()
	if c.Total() != c.Range {
		t.Errorf("upstream saw %+v, want ranges alone", c)
	}
	t.Logf("%d ranged requests", c.Range)
}
