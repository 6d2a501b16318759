package blobfmt_test

import (
	"errors"
	"io/fs"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// checkInvariants has what every decoded tree promises, whatever the index said.
func checkInvariants(t *testing.T, tree *archive.Tree, data oci.Descriptor) {
	t.Helper()
	var size int64
	n := 0
	for e := range tree.All() {
		n++
		size += e.Size
		if !fs.ValidPath(e.Path) || e.Path == "." || len(e.Path) > archive.MaxPath {
			t.Errorf("path %q", e.Path)
		}
		if e.Size < 0 || size < 0 || e.Mode&^fs.ModePerm != 0 || !e.HasSum {
			t.Errorf("%q: %+v", e.Path, e)
		}
		r := e.Locator.(archive.Range)
		if r.Offset < 0 || r.Length < 0 || r.Offset > data.Size-r.Length || (r.Length == 0) != (e.Size == 0) {
			t.Errorf("%q: %d bytes from %d of %d for a size of %d", e.Path, r.Length, r.Offset, data.Size, e.Size)
		}
		if r.Codec != archive.Stored && r.Codec != archive.Zstd || r.Codec == archive.Stored && r.Length != e.Size {
			t.Errorf("%q: codec %d, %d bytes for a size of %d", e.Path, r.Codec, r.Length, e.Size)
		}
		if got, err := tree.Lookup(e.Path); err != nil || *got != *e {
			t.Errorf("Lookup(%q) = %v, %v", e.Path, got, err)
		}
	}
	files := 0
	for node := range tree.Walk(".") {
		if !node.Dir {
			files++
		}
	}
	if n != tree.Len() || files != n || size != tree.Size() {
		t.Errorf("Len %d, Size %d; All sees %d files of %d bytes, Walk %d", tree.Len(), tree.Size(), n, size, files)
	}
}

// FuzzDecode feeds Decode anything. It must answer with a tree that keeps its promises or with IndexInvalid, in memory that
// is a small multiple of the input.
func FuzzDecode(f *testing.F) {
	for _, o := range []archivetest.Options{{}, {Zstd: true}, {Alter: func(x *archivetest.Index) { x.DataHash = nil }}} {
		for _, files := range [][]archivetest.File{nil, sample[:1], sample} {
			index, data := archivetest.Build(files, o)
			f.Add(index, int64(len(data)))
		}
	}
	for _, name := range goldenNames() {
		g := readGolden(f, name)
		f.Add(g.index, g.layer.Size)
	}
	f.Fuzz(func(t *testing.T, index []byte, dataSize int64) {
		// The sha512 digest keeps the index's sha256 of the data from ending each run at once.
		layer := oci.Descriptor{Digest: digest.SHA512.FromString(""), Size: dataSize}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		tree, err := blobfmt.Decode(index, layer, blobfmt.Limits{})
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(16*len(index))+256<<10 {
			t.Errorf("%d bytes allocated for an index of %d", grown, len(index))
		}
		if err != nil {
			if !errors.Is(err, fault.IndexInvalid) || tree != nil {
				t.Errorf("%v, %v", tree, err)
			}
			return
		}
		checkInvariants(t, tree, layer)
	})
}
