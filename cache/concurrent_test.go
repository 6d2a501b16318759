package cache

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
)

// TestCatalogueConcurrently is for the race detector, and checks that the journal's order is that of the changes: what a
// restart finds is what was in memory.
func TestCatalogueConcurrently(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	small := bounds{artifacts: 50, grants: 50, tags: 50, proofs: 50}
	c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, small)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for n := range 60 {
				a := testArtifact(n % 20) // the same for all workers
				scope := scopeOf(a)
				var err error
				switch (n + worker) % 6 {
				case 0:
					err = c.pin(a, []store.Key{store.KeyOf(a.Digest)})
				case 1:
					err = c.Forget(a.Registry, a.Repository, a.Digest)
				case 2:
					err = c.Revoke(scope)
				default:
					a.LastUsed = a.LastUsed.Add(time.Duration(n) * time.Hour)
					c.TagSeen(a.Registry, a.Repository, fmt.Sprint("v", n%3), a.Digest)
					c.Prove(scope, a.Digest)
					err = errors.Join(c.Record(a), c.Grant(scope, testTime.Add(time.Duration(n)*time.Hour)))
				}
				if err != nil {
					t.Error(err)
				}
				c.All()
				c.Get(a.Registry, a.Repository, a.Digest)
				c.Granted(scope, testTime)
				c.Proved(scope, a.Digest)
			}
		})
	}
	all.Wait()
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	again := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, small)
	if got, want := fmt.Sprintf("%+v", again.All()), fmt.Sprintf("%+v", c.All()); got != want {
		t.Errorf("after a restart\n%s, in memory there was\n%s", got, want)
	}
	for n := range 20 {
		a := testArtifact(n)
		for hours := range 60 {
			at := testTime.Add(time.Duration(hours) * time.Hour)
			if again.Granted(scopeOf(a), at) != c.Granted(scopeOf(a), at) {
				t.Errorf("after a restart the grant of %s is another %d h later", a.Repository, hours)
			}
		}
	}
}

// TestCachesConcurrently is for the race detector: two archives that share a file come, are pinned, go and are verified
// at the same time, and in the end all is as it should be.
func TestCachesConcurrently(t *testing.T) {
	c := open(t, Options{MemorySize: -1})
	<-c.Store.Scanned()
	var all sync.WaitGroup
	for _, repository := range []string{"a", "b"} {
		all.Go(func() {
			for range 10 {
				a := archive(t, c, repository, repository, "shared")
				if err := c.PinArtifact(a.Artifact, slices.Values(a.files), nil, true); err != nil {
					t.Error(err)
				}
				if err := c.PinArtifact(a.Artifact, nil, nil, false); err != nil {
					t.Error(err)
				}
				if _, err := c.Remove(t.Context(), a.Artifact, contentsOf(c)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range 5 {
			if err := c.Verify(t.Context(), nil, nil); err != nil {
				t.Error(err)
			}
			c.SetLimits(Options{MaxSize: 1 << 30, MemorySize: 1 << 20})
			if _, err := c.Clear(t.Context(), []string{NameMemory, NameIndex}); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	if pinned := pinnedIn(c); len(pinned) != 0 {
		t.Errorf("still pinned: %v", pinned)
	}
	archive(t, c, "a", "a", "shared").check(t, c)
}
