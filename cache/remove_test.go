package cache

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
)

// keptFor returns how many entries were kept, by reason.
func keptFor(r store.Report) map[string]int64 {
	kept := make(map[string]int64)
	for _, k := range r.Kept {
		kept[k.Reason] += k.Entries
	}
	return kept
}

func TestRemove(t *testing.T) {
	// An archive of two files is its manifest and the media type beside it, its index, its data, its tag, and the files.
	const all = 5 + 2
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, c *Caches, a testArchive)
		freed   int64
		kept    map[string]int64
		missing []string // of a, afterwards
	}{
		"alone": {freed: all, missing: []string{"manifest", "index", "data", "file 0", "file 1"}},
		"shares a file": {
			prepare: func(t *testing.T, c *Caches, _ testArchive) { archive(t, c, "other", "shared", "c") },
			freed:   all - 1, kept: map[string]int64{"shared": 1}, missing: []string{"manifest", "index", "data", "file 0"},
		},
		"another's index is not here": {
			prepare: func(t *testing.T, c *Caches, _ testArchive) {
				other := archive(t, c, "other", "c")
				if _, err := c.Store.Class(FolderIndexes).Remove(store.KeyOf(other.index()), store.ReasonCorrupt); err != nil {
					t.Fatal(err)
				}
			},
			freed: all - 2, kept: map[string]int64{"unknown": 2}, missing: []string{"manifest", "index", "data"},
		},
		"the same in another repository": {
			prepare: func(t *testing.T, c *Caches, a testArchive) {
				a.Repository = "copy"
				if err := c.Catalogue.Record(a.Artifact); err != nil {
					t.Fatal(err)
				}
			},
			freed: 1, kept: map[string]int64{"shared": all - 1},
		},
		"a blob is another's": {
			prepare: func(t *testing.T, c *Caches, a testArchive) {
				other := archive(t, c, "other", "c").Artifact
				other.Blobs = append(other.Blobs, Blob{a.Blobs[1].Digest, a.Blobs[1].Size, RoleLayer})
				if err := c.Catalogue.Record(other); err != nil {
					t.Fatal(err)
				}
			},
			freed: all - 1, kept: map[string]int64{"shared": 1}, missing: []string{"manifest", "index", "file 0", "file 1"},
		},
		"pinned": {
			prepare: func(t *testing.T, c *Caches, a testArchive) {
				if err := c.PinArtifact(a.Artifact, slices.Values(a.files), nil, true); err != nil {
					t.Fatal(err)
				}
			},
			kept: map[string]int64{"pinned": all - 1},
		},
		"a file is in use": {
			prepare: func(t *testing.T, c *Caches, a testArchive) {
				o, err := c.Content.Open(a.files[0])
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = o.Close() })
			},
			freed: all - 1, kept: map[string]int64{"in use": 1}, missing: []string{"manifest", "index", "data", "file 1"},
		},
		"its own index is not here": {
			prepare: func(t *testing.T, c *Caches, a testArchive) {
				if _, err := c.Store.Class(FolderIndexes).Remove(store.KeyOf(a.index()), store.ReasonCorrupt); err != nil {
					t.Fatal(err)
				}
			},
			freed: all - 3, missing: []string{"manifest", "index", "data"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, Options{MemorySize: -1})
			a := archive(t, c, "one", "only", "shared")
			if tc.prepare != nil {
				tc.prepare(t, c, a)
			}
			c.Memory.Set("hot", 1, 1)
			bystanders := slices.DeleteFunc(c.Catalogue.All(), func(x Artifact) bool { return x.Repository == a.Repository })
			report, err := c.Remove(t.Context(), a.Artifact, contentsOf(c))
			if err != nil {
				t.Fatal(err)
			}
			if got := keptFor(report); report.FreedEntries != tc.freed || !equalMaps(got, tc.kept) {
				t.Errorf("freed %d and kept %v, want %d and %v", report.FreedEntries, got, tc.freed, tc.kept)
			}
			if report.Bytes != c.Store.Usage().Bytes || report.FreedEntries > 0 && report.FreedBytes <= 0 {
				t.Errorf("%d bytes freed, %d left", report.FreedBytes, report.Bytes)
			}
			if got := a.missing(c); !slices.Equal(got, tc.missing) {
				t.Errorf("missing are %q, want %q", got, tc.missing)
			}
			pinned := tc.freed == 0
			if _, ok := c.Catalogue.Get(a.Registry, a.Repository, a.Digest); ok != pinned {
				t.Errorf("in the catalogue: %v", ok)
			}
			if _, ok := c.Refs.Get(scopeOf(a.Artifact), "v1"); ok != pinned {
				t.Errorf("its tag is there: %v", ok)
			}
			if _, ok := c.Memory.Get("hot"); ok != pinned {
				t.Errorf("still in memory: %v", ok)
			}
			for _, b := range bystanders {
				got, ok := c.Catalogue.Get(b.Registry, b.Repository, b.Digest)
				if !ok || !got.same(b) {
					t.Errorf("%s is now %+v, %v", b.Repository, got, ok)
				}
				if _, _, ok := c.Manifests.Get(b.Digest); !ok {
					t.Errorf("the manifest of %s is gone", b.Repository)
				}
			}
		})
	}
}

func equalMaps(a, b map[string]int64) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func TestRemoveKeepsOtherTags(t *testing.T) {
	c := open(t, Options{})
	a, b := archive(t, c, "one", "a"), archive(t, c, "two", "b")
	robot := scopeOf(a.Artifact)
	robot.Credential, robot.Principal = "robot", "uid:7"
	if err := errors.Join(
		c.Refs.Put(t.Context(), robot, "v1", Ref{Digest: a.Digest}),
		c.Refs.Put(t.Context(), robot, "v2", Ref{Digest: b.Digest}),
		c.Refs.Put(t.Context(), scopeOf(b.Artifact), "v2", Ref{Digest: a.Digest}),
		c.Refs.Put(t.Context(), robot, "none", Ref{Missing: true}),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Remove(t.Context(), a.Artifact, contentsOf(c)); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Refs.Get(robot, "v1"); ok {
		t.Error("a tag of another scope still points at it")
	}
	for _, tag := range []string{"v2", "none"} {
		if _, ok := c.Refs.Get(robot, tag); !ok {
			t.Errorf("tag %s, which points elsewhere, is gone", tag)
		}
	}
	if _, ok := c.Refs.Get(scopeOf(b.Artifact), "v2"); !ok {
		t.Error("a tag of another repository is gone")
	}
}

func TestRemoveEndsWithItsContext(t *testing.T) {
	c := open(t, Options{})
	a := archive(t, c, "one", "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Remove(ctx, a.Artifact, contentsOf(c)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	a.check(t, c)
}

func TestCached(t *testing.T) {
	c := open(t, Options{})
	<-c.Store.Scanned()
	a := archive(t, c, "one", "a", "b")
	whole := c.Cached(a.Artifact, slices.Values(a.files))
	without := c.Cached(a.Artifact, nil)
	size := func(d digest.Digest) int64 { return c.Store.Class(FolderContent).Size(store.KeyOf(d)) }
	if want := size(a.files[0]) + size(a.files[1]); want <= 0 || whole-without != want {
		t.Errorf("%d with its files and %d without, which take %d", whole, without, want)
	}
	if without <= 0 || without > c.Store.Usage().Bytes {
		t.Errorf("%d without its files", without)
	}
}
