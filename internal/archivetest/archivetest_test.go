package archivetest_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

// TestContentIsSeekable reads parts of generated content beside the whole.
func TestContentIsSeekable(t *testing.T) {
	for name, content := range map[string]func(uint64, int64) *io.SectionReader{
		"random": archivetest.Random, "compressible": archivetest.Compressible,
	} {
		whole := archivetest.Bytes(content(7, 20_000))
		if bytes.Equal(whole, archivetest.Bytes(content(8, 20_000))) {
			t.Errorf("%s: seeds don't matter", name)
		}
		for _, part := range [][2]int{{0, 1}, {1, 4096}, {4095, 4097}, {4096, 8192}, {5000, 20_000}, {19_999, 20_000}} {
			got := make([]byte, part[1]-part[0])
			if _, err := content(7, 20_000).ReadAt(got, int64(part[0])); err != nil || !bytes.Equal(got, whole[part[0]:part[1]]) {
				t.Errorf("%s %v: other bytes than in the whole: %v", name, part, err)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	files := []archivetest.File{{Path: "foo.txt"}, {Path: "foo/a"}, {Path: "foo-bar"}, {Path: "b"}}
	for _, c := range []struct {
		sorted bool
		want   []string
	}{
		{false, []string{"b", "foo/a", "foo-bar", "foo.txt"}},
		{true, []string{"b", "foo-bar", "foo.txt", "foo/a"}},
	} {
		var got []string
		archivetest.Build(files, archivetest.Options{Sorted: c.sorted, Alter: func(x *archivetest.Index) {
			for _, e := range x.Entries {
				got = append(got, e.Path)
			}
		}})
		if !slices.Equal(got, c.want) {
			t.Errorf("sorted %v: %v", c.sorted, got)
		}
	}
}

func TestRunLength(t *testing.T) {
	zr, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	for _, size := range []int64{1, 128<<10 - 1, 128 << 10, 128<<10 + 1, 5 << 20} {
		content, frame := archivetest.RunLength(size)
		got, err := zr.DecodeAll(frame, nil)
		if err != nil || !bytes.Equal(got, archivetest.Bytes(content)) {
			t.Errorf("%d bytes: the frame holds %d others: %v", size, len(got), err)
		}
		index, data := archivetest.Build([]archivetest.File{{Path: "a", Content: content, Frame: frame}}, archivetest.Options{})
		if !bytes.Equal(data, frame) {
			t.Error("the frame is not the data")
		}
		_, layer := archivetest.Layers(index, data)
		tree, err := blobfmt.Decode(index, layer, blobfmt.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := tree.Lookup("a"); err != nil || e.Size != size || e.Sum != sha256.Sum256(got) {
			t.Errorf("%d bytes: %+v, %v", size, e, err)
		}
	}
}

// TestPushes puts the same archive into a registry from memory and as a stream.
func TestPushes(t *testing.T) {
	runs, frame := archivetest.RunLength(3 << 20)
	files := append(archivetest.Many(300),
		archivetest.File{Path: "big", Content: archivetest.Random(1, 3<<20)},
		archivetest.File{Path: "runs", Content: runs, Frame: frame})
	reg := registrytest.New(t, registrytest.Options{})
	for name, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
		index, data := archivetest.Build(files, o)
		whole, err := archivetest.Push(t.Context(), reg.PushHost(), "acme/"+name+":whole", index, data)
		if err != nil {
			t.Fatal(err)
		}
		streamed, err := archivetest.PushFiles(t.Context(), reg.PushHost(), "acme/"+name+":streamed", files, o)
		if err != nil || streamed != whole {
			t.Errorf("%s: streamed %s, whole %s: %v", name, streamed, whole, err)
		}
		indexLayer, dataLayer := archivetest.Layers(index, data)
		if want := digest.FromBytes(archivetest.Manifest(indexLayer, dataLayer)); whole != want {
			t.Errorf("%s: manifest %s, want %s", name, whole, want)
		}
	}
	if _, err := archivetest.PushFiles(t.Context(), reg.PushHost(), "acme/empty:v1", nil, archivetest.Options{}); err != nil {
		t.Error(err)
	}
	if _, err := archivetest.Push(t.Context(), reg.PushHost(), "acme/untagged", nil, nil); err == nil {
		t.Error("pushed without a tag")
	}
	reg.Stop()
	if _, err := archivetest.PushFiles(t.Context(), reg.Host(), "acme/nowhere:v1", files, archivetest.Options{}); err == nil {
		t.Error("pushed to a registry that is not there")
	}
}

// TestMany has an index of as many files as the published writer allows.
func TestMany(t *testing.T) {
	index, data := archivetest.Build(archivetest.Many(200_000), archivetest.Options{})
	_, layer := archivetest.Layers(index, data)
	tree, err := blobfmt.Decode(index, layer, blobfmt.Limits{})
	if err != nil || tree.Len() != 200_000 {
		t.Fatal(tree.Len(), err)
	}
	t.Logf("an index of %d bytes, data of %d, a tree of %d", len(index), len(data), tree.MemoryBytes())
}
