// Package interop_test holds blobd against the published library: archives that the library made must be read whole by
// ours, and archives that ours made by the library.
package interop_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	blobcore "github.com/meigma/blob/core"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/peer"
	"github.com/blobd/blobd/test/interop/source"
)

// made returns a folder that fill has filled.
func made(t *testing.T, fill func(dir string) error) string {
	t.Helper()
	dir := t.TempDir()
	if err := fill(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func nothing(string) error { return nil }

// TestReadsWhatTheLibraryWrote compares archives that the library pushed with the folders they were made of.
func TestReadsWhatTheLibraryWrote(t *testing.T) {
	goSource, err := source.GoSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reg := registrytest.New(t, registrytest.Options{})
	for _, c := range []struct {
		name        string
		dir         string
		compression peer.Compression
		unsorted    bool
	}{
		{"empty-stored", made(t, nothing), peer.Stored, false},
		{"empty-zstd", made(t, nothing), peer.Zstd, false},
		{"awkward-stored", made(t, source.Awkward), peer.Stored, true},
		{"awkward-zstd", made(t, source.Awkward), peer.Zstd, true},
		{"big-stored", made(t, source.Big), peer.Stored, false},
		{"big-zstd", made(t, source.Big), peer.Zstd, false},
		{"go-stored", goSource, peer.Stored, true},
		{"go-runtime-zstd", filepath.Join(goSource, "runtime"), peer.Zstd, true}, // not all: minutes under the race detector
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := peer.Push(t.Context(), reg.PushHost()+"/"+c.name+":v1", c.dir, c.compression)
			if err != nil {
				t.Fatal(err)
			}
			s := fetch(t, reg.PushHost(), c.name, d.String())
			compare(t, s, os.DirFS(c.dir))
			if unsorted := !slices.IsSorted(libraryOrder(t, s.index)); unsorted != c.unsorted {
				t.Errorf("the library wrote an unsorted index: %v; the case is there for the other", unsorted)
			}
		})
	}
}

// libraryOrder is the paths of an index as the library sees them.
func libraryOrder(t *testing.T, index []byte) (paths []string) {
	t.Helper()
	view, err := blobcore.NewIndexView(index)
	if err != nil {
		t.Fatal(err)
	}
	for e := range view.Entries() {
		paths = append(paths, e.Path())
	}
	return paths
}

// compare holds an archive against the folder it was made of: the same files in the same order, with the same bytes and
// metadata.
func compare(t *testing.T, s stored, dir fs.FS) {
	t.Helper()
	zr, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	var want []string
	err = fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		want = append(want, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := fs.ReadFile(dir, path)
		if err != nil {
			return err
		}
		e, err := s.tree.Lookup(path)
		if err != nil {
			t.Error(err)
			return nil
		}
		got, err := s.read(zr, e)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes that are not the file's %d: %v", path, len(got), len(content), err)
		}
		uid, gid := owner(info)
		if e.Size != info.Size() || e.Mode != info.Mode().Perm() || !e.Time().Equal(info.ModTime()) ||
			e.UID != uid || e.GID != gid || e.Sum != sha256.Sum256(content) {
			t.Errorf("%s: %+v is not what the folder says: %v, uid %d, gid %d", path, e, info, uid, gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for n := range s.tree.Walk(".") {
		if !n.Dir {
			got = append(got, n.Path)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d files, the folder has %d, or in another order", len(got), len(want))
	}
}

// TestLibraryReadsWhatWeWrote lets the library read archives of archivetest, so that our reader and our writer can't be
// wrong together. They are sorted: the library finds nothing else reliably.
func TestLibraryReadsWhatWeWrote(t *testing.T) {
	files := []archivetest.File{
		{Path: "foo/a", Data: []byte("a"), Mode: 0o755, UID: 12, GID: 34, ModTime: 5_000_000_001},
		{Path: "foo.txt", Data: []byte("foo")},
		{Path: "foo-bar", Data: []byte("bar")},
		{Path: "empty"},
		{Path: "text", Content: archivetest.Compressible(1, 3<<20)},
		{Path: "noise", Content: archivetest.Random(2, 1<<20+1)},
	}
	files = append(files, archivetest.Many(500)...)
	reg := registrytest.New(t, registrytest.Options{})
	for name, o := range map[string]archivetest.Options{
		"stored": {Sorted: true},
		"zstd":   {Sorted: true, Zstd: true},
		"frames": {Sorted: true, Zstd: true, EmptyFrames: true},
		"mixed":  {Sorted: true, Zstd: true, Stored: func(f archivetest.File) bool { return f.Path == "text" }},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := archivetest.PushFiles(t.Context(), reg.PushHost(), name+":v1", files, o)
			if err != nil {
				t.Fatal(err)
			}
			client, err := peer.Client()
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := client.Pull(t.Context(), reg.PushHost()+"/"+name+":v1")
			if err != nil {
				t.Fatal(err)
			}
			ours := fetch(t, reg.PushHost(), name, d.String()).tree
			if theirs.Len() != len(files) || ours.Len() != len(files) {
				t.Errorf("the library sees %d files, we %d, of %d", theirs.Len(), ours.Len(), len(files))
			}
			for _, f := range files {
				want := f.Data
				if f.Content != nil {
					want = archivetest.Bytes(f.Content)
				}
				if got, err := theirs.ReadFile(f.Path); err != nil || !bytes.Equal(got, want) {
					t.Errorf("the library reads %d bytes of %s's %d: %v", len(got), f.Path, len(want), err)
				}
				their, ok := theirs.Entry(f.Path)
				our, err := ours.Lookup(f.Path)
				if !ok || err != nil || describe(their, o.EmptyFrames) != describeOurs(our) {
					t.Errorf("the library sees %s, we %s, %v", describe(their, false), describeOurs(our), err)
				}
			}
		})
	}
}

// describe leaves the range of an empty file's frame out where framed says so: our tree has none for it.
func describe(e blobcore.EntryView, framed bool) string {
	length := e.DataSize()
	if framed && e.OriginalSize() == 0 {
		length = 0
	}
	return fmt.Sprintf("%s %d+%d %d %x %v %d:%d %d %d", e.Path(), e.DataOffset(), length, e.OriginalSize(),
		e.HashBytes(), e.Mode(), e.UID(), e.GID(), e.ModTime().UnixNano(), e.Compression())
}

func describeOurs(e *archive.Entry) string {
	r := e.Locator.(archive.Range)
	return fmt.Sprintf("%s %d+%d %d %x %v %d:%d %d %d", e.Path, r.Offset, r.Length, e.Size,
		e.Sum, e.Mode, e.UID, e.GID, e.ModTime, r.Codec)
}
