//go:build unix

package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
)

// killedCaches are what victims work on: small, so that they evict all the time.
func killedCaches(dir string) Options {
	return Options{Dir: dir, MaxSize: 6 << 20, MemorySize: 0, FS: storetest.WithoutSync()}
}

// sentinels are files that were last read two days, or an hour ago, and are pinned as those of testArtifact(0).
const sentinels = 6

func sentinel(i int) []byte { return storetest.Data(uint64(9000+i), 3000) }

func putSentinels(t *testing.T, dir string) {
	var files []digest.Digest
	for i := range sentinels {
		files = append(files, digest.FromBytes(sentinel(i)))
	}
	for half, age := range []time.Duration{48 * time.Hour, time.Hour} {
		opts := killedCaches(dir)
		opts.Now = func() time.Time { return time.Now().Add(-age) }
		c := open(t, opts)
		<-c.Store.Scanned()
		for i := half * sentinels / 2; i < (half+1)*sentinels/2; i++ {
			putFile(t, c, sentinel(i))
		}
		if err := errors.Join(c.PinArtifact(testArtifact(0), slices.Values(files), nil, true), c.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// victimFile is a file that a victim puts, and victimRef what it says of its tag.
func victimFile(i int) []byte { return storetest.Data(uint64(i), 3000+i*97%70_000) }

func victimRef(i int) Ref {
	return Ref{Digest: digest.FromString(fmt.Sprint("ref ", i)), CheckedAt: testTime.Add(time.Duration(i) * time.Second)}
}

// victimFiles is how many different files victims put: several times what fits.
const victimFiles = 400

// TestKilledAtRandom kills a process some milliseconds after its start, while it opens, fills, pins, evicts and closes:
// 200 times, or 2,000 with BLOBD_TEST_LONG=1. No entry is torn, what is pinned stays so, temporary files go, and what was
// read before is known.
//
// It is not parallel to others that start victims: what the test forks for one has the locks of the test, for a moment.
func TestKilledAtRandom(t *testing.T) {
	if dir := storetest.VictimDir(); dir != "" {
		workUntilKilled(dir)
	}
	kills := 200
	if os.Getenv("BLOBD_TEST_LONG") == "1" {
		kills = 2000
	}
	dir := t.TempDir()
	putSentinels(t, dir)
	pinned := map[string]string{} // by artifact: what the last victim that said something did, or was about to do
	entries := 0
	for n := range kills {
		victim := storetest.StartVictim(t, "TestKilledAtRandom", dir)
		victim.Next(t) // it is about to open
		timer := time.AfterFunc(rand.N(30*time.Millisecond), victim.Kill)
		said, _ := victim.Ended(t)
		timer.Stop()
		for _, line := range said {
			what, name, ok := strings.Cut(line, " ")
			if !ok {
				t.Fatalf("kill %d: the victim says %q", n, line)
			}
			pinned[name] = what
		}
		entries += checkKilled(t, fmt.Sprint("round ", n), dir, pinned)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d entries checked", kills, entries)
}

// workUntilKilled opens the caches, works on them, closes them, again and again.
func workUntilKilled(dir string) {
	fmt.Println("ready")
	for round := rand.IntN(1000); ; round++ {
		c, err := Open(killedCaches(dir))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		var work sync.WaitGroup
		for w := range 3 {
			work.Go(func() {
				for i := range 10 {
					_ = victimStep(c, (round*31+w*137+i)%victimFiles)
				}
			})
		}
		work.Go(func() {
			a := testArtifact(1 + round%5)
			pin := round%3 > 0
			fmt.Printf("%s %s\n", map[bool]string{true: "pinning", false: "unpinning"}[pin], a.Repository)
			if err := c.PinArtifact(a, nil, nil, pin); pin && err == nil {
				fmt.Println("pinned", a.Repository)
			} else if err == nil {
				fmt.Println("unpinned", a.Repository)
			}
		})
		work.Wait()
		_ = c.Close()
	}
}

// victimStep puts one of everything.
func victimStep(c *Caches, i int) error {
	ctx, data := context.Background(), victimFile(i)
	d := digest.FromBytes(data)
	manifest := fmt.Appendf(nil, `{"n":%d}`, i)
	errs := []error{
		c.Refs.Put(ctx, testScope, fmt.Sprint("tag", i%20), victimRef(i)),
		c.Manifests.Put(ctx, digest.FromBytes(manifest), "own", manifest),
		c.Indexes.Put(ctx, d, data),
	}
	if w, err := c.Content.Create(ctx, d, -1); err == nil {
		_, err = w.Write(data)
		errs = append(errs, err, w.Commit(), w.Close())
	}
	if p, err := c.Blocks.Open(d, int64(len(data)), true); err == nil {
		for b := range p.Blocks() {
			errs = append(errs, p.WriteBlock(nil, b, data[b*store.BlockSize:min(len(data), (b+1)*store.BlockSize)]))
		}
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// checkKilled looks at what a victim left, and returns how many entries there are.
func checkKilled(t *testing.T, at, dir string, pinned map[string]string) int {
	t.Helper()
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf("killed at %s: %s", at, fmt.Sprintf(format, args...))
	}
	opts := killedCaches(dir)
	told := &listener{}
	opts.Observer = told
	c := open(t, opts)
	defer c.Close()
	<-c.Store.Scanned()
	for _, k := range kinds() {
		if left := storetest.Files(t, filepath.Join(dir, k.folder, "tmp")); len(left) != 0 {
			wrong("left behind: %v", left)
		}
	}
	for _, name := range []string{"catalogue.tmp", "snapshot.tmp"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			wrong("left behind: %s", name)
		}
	}
	r, err := c.Store.Prune(t.Context(), store.PruneOptions{UnusedFor: 24 * time.Hour, DryRun: true})
	if err != nil || len(r.Kept) != 1 || r.Kept[0].Reason != store.KeptPinned || r.Kept[0].Entries != sentinels/2 {
		wrong("not read for a day: %+v, %v; want the %d that are pinned", r, err, sentinels/2)
	}
	for i := range sentinels {
		if !c.Content.Contains(digest.FromBytes(sentinel(i))) {
			wrong("what is pinned has gone: %d", i)
		}
	}
	var entries int64
	err = c.Verify(t.Context(), func(done, _, _ int64) { entries = done }, func(cache, key, why string) {
		wrong("in the %s cache %s is bad: %s", cache, key, why)
	})
	if err != nil {
		wrong("%v", err)
	}
	for tag := range 20 {
		if ref, ok := c.Refs.Get(testScope, fmt.Sprint("tag", tag)); ok && !slices.ContainsFunc(refsOf(tag), func(r Ref) bool {
			return r.Digest == ref.Digest && r.CheckedAt.Equal(ref.CheckedAt)
		}) {
			wrong("tag %d is what nobody said: %+v", tag, ref)
		}
	}
	for _, k := range kinds() {
		if torn := told.corruptions(k.folder); torn != 0 {
			wrong("%d entries of %s were torn", torn, k.folder)
		}
	}
	for i := range 6 {
		a := testArtifact(i)
		got, _ := c.Catalogue.Get(a.Registry, a.Repository, a.Digest)
		if what := pinned[a.Repository]; i == 0 && !got.Pinned || what == "pinned" && !got.Pinned || what == "unpinned" && got.Pinned {
			wrong("%s was %q; it is pinned: %v", a.Repository, what, got.Pinned)
		}
	}
	if du := storetest.Du(t, dir); du > opts.MaxSize {
		wrong("the disk gives up %d bytes", du)
	}
	return int(entries)
}

// refsOf are all that victims say of a tag.
func refsOf(tag int) (refs []Ref) {
	for i := tag; i < victimFiles; i += 20 {
		refs = append(refs, victimRef(i))
	}
	return refs
}
