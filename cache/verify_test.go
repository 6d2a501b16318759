package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
)

// verified runs Verify and returns what was found, by cache, and the last progress.
func verified(t *testing.T, c *Caches) (found map[string][]string, done, total, bytes int64) {
	t.Helper()
	found = make(map[string][]string)
	err := c.Verify(t.Context(),
		func(d, t, b int64) { done, total, bytes = d, t, b },
		func(cache, key, why string) {
			if why == "" {
				t.Errorf("%s of %s: no reason", key, cache)
			}
			found[cache] = append(found[cache], key)
		})
	if err != nil {
		t.Fatal(err)
	}
	return found, done, total, bytes
}

func TestVerifyFindsDamage(t *testing.T) {
	for how, damage := range damages() {
		if how == "longer by one" {
			continue // of a partial that is no damage to any block: see TestVerifyBlocks
		}
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s restart %v", how, restart), func(t *testing.T) {
				t.Parallel()
				told := &listener{}
				opts := Options{Dir: t.TempDir(), Observer: told}
				c := open(t, opts)
				good := archive(t, c, "good", "a", "b")
				want := make(map[string][]string)
				for _, e := range keptEntries() {
					e.put(t, c)
					if right, there := e.get(c); !right || !there {
						t.Fatal("it is not there to begin with")
					}
					want[Name(e.folder)] = append(want[Name(e.folder)], e.key.String())
				}
				if found, done, total, bytes := verified(t, c); len(found) != 0 || done != total || done < 12 || bytes < 600_000 {
					t.Errorf("before: found %v in %d of %d entries and %d bytes", found, done, total, bytes)
				}
				if restart {
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
				}
				for _, e := range keptEntries() {
					rewriteFile(t, fileOf(t, opts.Dir, e.folder, e.key), damage)
				}
				if restart {
					c = open(t, opts)
				}
				found, _, _, _ := verified(t, c)
				for cache, keys := range want {
					slices.Sort(keys)
					slices.Sort(found[cache])
					if how == "emptied" && restart {
						continue // the scan at start has dropped those already
					}
					if !slices.Equal(found[cache], keys) {
						t.Errorf("%s: found %v, want %v", cache, found[cache], keys)
					}
					if n := told.corruptions(Folder(cache)); n != len(keys) {
						t.Errorf("%s: %d corruptions were told, want %d", cache, n, len(keys))
					}
				}
				for name, e := range keptEntries() {
					if _, there := e.get(c); there {
						t.Errorf("%s is still there", name)
					}
				}
				good.check(t, c)
				if found, _, _, _ := verified(t, c); len(found) != 0 {
					t.Errorf("afterwards: %v", found)
				}
			})
		}
	}
}

// TestVerifyReadsAgain: what was checked once, and whose file seems unchanged, is read all the same.
func TestVerifyReadsAgain(t *testing.T) {
	c := open(t, Options{})
	data := pattern(100_000, 1)
	wrong := digest.FromString("something else")
	if err := writeFileTo(t, c, wrong, data); err != nil { // the store takes what was committed for good
		t.Fatal(err)
	}
	if _, err := readFile(c, wrong); err != nil {
		t.Fatalf("the test can't show anything: %v", err)
	}
	if found, _, _, _ := verified(t, c); !slices.Equal(found[NameContent], []string{store.KeyOf(wrong).String()}) {
		t.Errorf("found %v", found)
	}
	if c.Content.Contains(wrong) {
		t.Error("it is still there")
	}
}

func TestVerifyBlocks(t *testing.T) {
	told := &listener{}
	opts := Options{Dir: t.TempDir(), Observer: told}
	c := open(t, opts)
	data := pattern(5*store.BlockSize+100, 1)
	other := pattern(2*store.BlockSize, 2)
	part := putBlocks(t, c, data, 0, 2, 5)
	whole := putBlocks(t, c, other, 0, 1)
	if found, _, _, bytes := verified(t, c); len(found) != 0 || bytes != 4*store.BlockSize+100 {
		t.Errorf("before: %v, %d bytes", found, bytes)
	}
	// A whole blob that is made of good blocks and is another's.
	liar := digest.FromString("a blob of the same size")
	p, err := c.Blocks.Open(liar, int64(len(other)), true)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.Reserve(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	for b := range 2 {
		if err := p.WriteBlock(res, b, other[b*store.BlockSize:(b+1)*store.BlockSize]); err != nil {
			t.Fatal(err)
		}
	}
	res.Release()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	// One bad block.
	rewriteFile(t, fileOf(t, opts.Dir, FolderBlocks, store.KeyOf(part)), func(raw []byte) []byte {
		raw[2*store.BlockSize+7] ^= 1
		return raw
	})
	found, _, _, _ := verified(t, c)
	want := []string{store.KeyOf(part).String(), store.KeyOf(liar).String()}
	slices.Sort(want)
	slices.Sort(found[NameBlock])
	if !reflect.DeepEqual(found, map[string][]string{NameBlock: want}) {
		t.Errorf("found %v, want %v", found, want)
	}
	if n := told.corruptions(FolderBlocks); n != 2 {
		t.Errorf("%d corruptions were told", n)
	}
	for _, tc := range []struct {
		blob   digest.Digest
		size   int
		blocks []bool
	}{
		{part, len(data), []bool{true, false, false, false, false, true}}, {whole, len(other), []bool{true, true}}, {liar, len(other), nil},
	} {
		var has []bool
		if p, err := c.Blocks.Open(tc.blob, int64(tc.size), false); err == nil {
			for b := range p.Blocks() {
				has = append(has, p.Has(b))
			}
			_ = p.Close()
		}
		if !slices.Equal(has, tc.blocks) {
			t.Errorf("%s has blocks %v, want %v", tc.blob, has, tc.blocks)
		}
	}
	// A file that is no partial any more.
	rewriteFile(t, fileOf(t, opts.Dir, FolderBlocks, store.KeyOf(whole)), func(raw []byte) []byte { return raw[:100] })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, opts)
	found, _, _, _ = verified(t, c)
	if len(found[NameBlock]) != 1 || c.Store.Class(FolderBlocks).Contains(store.KeyOf(whole)) {
		t.Errorf("cut to 100 bytes: found %v", found)
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	c := open(t, Options{})
	for n := range 10 {
		putFile(t, c, pattern(1000, n))
	}
	ctx, cancel := context.WithCancel(t.Context())
	visited := 0
	err := c.Verify(ctx, func(int64, int64, int64) { visited++; cancel() }, nil)
	if !errors.Is(err, context.Canceled) || visited != 1 {
		t.Errorf("%v after %d entries", err, visited)
	}
	if n := c.Store.Usage().Entries; n != 10 {
		t.Errorf("%d entries are left", n)
	}
}

// TestDamageEverywhere flips a byte in every file of the folder, in turn: nobody is ever handed wrong bytes, and the
// caches open.
func TestDamageEverywhere(t *testing.T) {
	dir := t.TempDir()
	c := open(t, Options{Dir: dir})
	for _, e := range keptEntries() {
		e.put(t, c)
	}
	a := archive(t, c, "a", "1", "2")
	if err := errors.Join(c.PinArtifact(a.Artifact, slices.Values(a.files), nil, true), c.Close()); err != nil {
		t.Fatal(err)
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.ToSlash(name), func(t *testing.T) {
			t.Parallel()
			opts := Options{Dir: copyTree(t, dir)}
			fi, err := os.Stat(filepath.Join(opts.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if fi.Size() == 0 {
				t.Skip("it is empty")
			}
			rewriteFile(t, filepath.Join(opts.Dir, name), damages()["middle byte flipped"])
			c := open(t, opts)
			missing := 0
			for name, e := range keptEntries() {
				right, there := e.get(c)
				if there && !right {
					t.Errorf("%s is wrong", name)
				}
				if !there {
					missing++
				}
			}
			if missing += len(a.missing(c)); missing > 1 {
				t.Errorf("%d entries are missing", missing)
			}
		})
	}
}
