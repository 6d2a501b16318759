package cache

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
)

// small is a budget that a few dozen files fill.
const small = 4 << 20

// fill puts files of twice the budget into the content cache, ten times over or until ready says so.
func fill(t testing.TB, c *Caches, times int) {
	t.Helper()
	const size = 128 << 10
	for n := range times * small / size {
		if err := writeFileTo(t, c, digestOf(n, size), pattern(size, n)); err != nil && !errors.Is(err, store.ErrNoSpace) {
			t.Fatal(err)
		}
	}
}

func TestPinOutlivesFills(t *testing.T) {
	opts := Options{Dir: t.TempDir(), MaxSize: small, MinFree: 0}
	c := open(t, opts)
	pinned, other := archive(t, c, "pinned", "a", "both"), archive(t, c, "other", "b", "both")
	if err := c.PinArtifact(pinned.Artifact, slices.Values(pinned.files), nil, true); err != nil {
		t.Fatal(err)
	}
	fill(t, c, 10)
	pinned.check(t, c)
	if missing := other.missing(c); !slices.Contains(missing, "file 0") {
		t.Errorf("of the artifact that is not pinned only %v is missing: the cache was not filled", missing)
	}

	t.Run("after kill -9", func(t *testing.T) {
		opts := opts
		opts.Dir = copyTree(t, opts.Dir)
		c := open(t, opts)
		fill(t, c, 2)
		pinned.check(t, c)
	})
	t.Run("after kill -9, its index lost", func(t *testing.T) {
		opts := opts
		opts.Dir = copyTree(t, opts.Dir)
		if err := os.RemoveAll(filepath.Join(opts.Dir, FolderIndexes)); err != nil {
			t.Fatal(err)
		}
		c := open(t, opts)
		fill(t, c, 2)
		if missing := pinned.missing(c); !slices.Equal(missing, []string{"index"}) {
			t.Errorf("missing: %v", missing)
		}
	})
	t.Run("after it ended", func(t *testing.T) {
		if err := c.PinArtifact(pinned.Artifact, nil, nil, false); err != nil {
			t.Fatal(err)
		}
		fill(t, c, 2)
		if missing := pinned.missing(c); !slices.Contains(missing, "file 0") {
			t.Errorf("missing: %v", missing)
		}
		for _, u := range c.Store.Usage().Classes {
			if u.Pinned != 0 {
				t.Errorf("%d pinned in %s", u.Pinned, u.Name)
			}
		}
	})
}

// pinnedIn returns how many entries that are there are pinned, by class.
func pinnedIn(c *Caches) map[string]int64 {
	pinned := make(map[string]int64)
	for _, u := range c.Store.Usage().Classes {
		if u.Pinned > 0 {
			pinned[u.Name] = u.Pinned
		}
	}
	return pinned
}

func TestPinsAreCountedByArtifact(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	c := open(t, opts)
	a, b := archive(t, c, "a", "1", "both"), archive(t, c, "b", "2", "both")
	pin := func(x testArchive, pinned bool) {
		t.Helper()
		twice := slices.Concat(x.files, x.files)
		if err := c.PinArtifact(x.Artifact, slices.Values(twice), nil, pinned); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, files, archives int64) {
		t.Helper()
		got := pinnedIn(c)
		if got[FolderContent] != files || got[FolderIndexes] != archives || got[FolderBlocks] != archives ||
			got[FolderManifests] != 2*archives { // each has its media type beside it
			t.Errorf("%s: pinned are %v, want %d files of %d archives", when, got, files, archives)
		}
	}
	for when := range 2 { // pinning twice is pinning once
		pin(a, true)
		pin(a, true)
		pin(b, true)
		check("both", 3, 2)
		pin(b, false)
		pin(b, false)
		check("one", 2, 1)
		c = reopen(t, c, opts)
		<-c.Store.Scanned()
		check("one after a restart", 2, 1)
		pin(a, false)
		check("none", 0, 0)
		if got, ok := c.Catalogue.Get(a.Registry, a.Repository, a.Digest); !ok || got.Pinned {
			t.Errorf("round %d: %+v, %v", when, got, ok)
		}
	}
}

func TestPinComesFirst(t *testing.T) {
	c := open(t, Options{})
	a := archive(t, c, "a", "1")
	later := digestOf(7, 1000)
	if err := c.PinArtifact(a.Artifact, slices.Values(append(a.files, later)), nil, true); err != nil {
		t.Fatal(err)
	}
	if err := writeFileTo(t, c, later, pattern(1000, 7)); err != nil {
		t.Fatal(err)
	}
	if got := pinnedIn(c)[FolderContent]; got != 2 {
		t.Errorf("%d files are pinned, want the one that came later too", got)
	}
	// An artifact that the catalogue does not know is recorded; one that is unknown and not pinned can't be unpinned.
	unknown := testArtifact(3)
	if err := c.PinArtifact(unknown, nil, nil, false); !errors.Is(err, fault.ArtifactUnknown) {
		t.Errorf("unpin what is not known: %v", err)
	}
	if err := c.PinArtifact(unknown, nil, nil, true); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Catalogue.Get(unknown.Registry, unknown.Repository, unknown.Digest); !ok || !got.Pinned {
		t.Errorf("pinned: %+v, %v", got, ok)
	}
	unknown.Blobs[0].Digest = "sha256:"
	if err := c.PinArtifact(unknown, nil, nil, true); !errors.Is(err, fault.InvalidDigest) {
		t.Errorf("a bad digest: %v", err)
	}
}
