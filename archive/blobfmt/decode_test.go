package blobfmt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

var sample = []archivetest.File{
	{Path: "foo/a.txt", Data: []byte("first"), Mode: 0o755, UID: 1000, GID: 100, ModTime: -5},
	{Path: "foo-bar.txt", Data: bytes.Repeat([]byte("x"), 300_000)},
	{Path: "foo.txt", Data: []byte("third"), ModTime: math.MaxInt64},
	{Path: "empty", Data: nil},
	{Path: "ünï/cödé", Data: []byte("fifth"), UID: math.MaxUint32, GID: math.MaxUint32},
}

func TestDecode(t *testing.T) {
	for _, o := range []archivetest.Options{{}, {Sorted: true}, {Zstd: true}, {Zstd: true, Sorted: true, EmptyFrames: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			index, data := archivetest.Build(sample, o)
			_, layer := archivetest.Layers(index, data)
			tree, err := blobfmt.Decode(index, layer, blobfmt.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if tree.Len() != len(sample) {
				t.Errorf("%d files", tree.Len())
			}
			for _, f := range sample {
				e, err := tree.Lookup(f.Path)
				if err != nil {
					t.Error(err)
					continue
				}
				mode := f.Mode
				if mode == 0 {
					mode = 0o644
				}
				if e.Size != int64(len(f.Data)) || e.Mode != mode || e.UID != f.UID || e.GID != f.GID || e.ModTime != f.ModTime ||
					!e.HasSum || e.Sum != sha256.Sum256(f.Data) {
					t.Errorf("%s: %+v", f.Path, e)
				}
				r := e.Locator.(archive.Range)
				if r.Blob.Digest != layer.Digest {
					t.Errorf("%s: is in %v", f.Path, r.Blob)
				}
				if stored := data[r.Offset : r.Offset+r.Length]; !o.Zstd && !bytes.Equal(stored, f.Data) {
					t.Errorf("%s: its range holds other bytes", f.Path)
				}
				if (r.Length == 0) != (e.Size == 0) {
					t.Errorf("%s: %d bytes for %d", f.Path, r.Length, e.Size)
				}
				if codec := r.Codec; (codec == archive.Zstd) != o.Zstd {
					t.Errorf("%s: codec %v", f.Path, codec)
				}
			}
		})
	}
}

func TestDecodeNothing(t *testing.T) {
	index, data := archivetest.Build(nil, archivetest.Options{})
	_, layer := archivetest.Layers(index, data)
	tree, err := blobfmt.Decode(index, layer, blobfmt.Limits{})
	if err != nil || tree.Len() != 0 {
		t.Fatal(tree, err)
	}
	if nodes, err := tree.ReadDir("."); err != nil || len(slices.Collect(nodes)) != 0 {
		t.Error(err)
	}
}

// TestDecodeAccepts has indexes that the published writer does not write but the format allows.
func TestDecodeAccepts(t *testing.T) {
	for name, alter := range map[string]func(*archivetest.Index){
		"no data hash":            func(x *archivetest.Index) { x.DataHash, x.DataSize = nil, 0 },
		"a frame for nothing":     func(x *archivetest.Index) { e := x.Find("empty"); e.Compression, e.DataSize = 1, 5 },
		"bits beside permissions": func(x *archivetest.Index) { x.Find("empty").Mode |= uint32(fs.ModeDir | fs.ModeSetuid) },
		"larger than a registry allows": func(x *archivetest.Index) {
			e := x.Find("empty")
			e.Compression, e.DataSize, e.OriginalSize = 1, 5, 16<<30
		},
	} {
		t.Run(name, func(t *testing.T) {
			index, data := archivetest.Build(sample, archivetest.Options{Alter: alter})
			_, layer := archivetest.Layers(index, data)
			tree, err := blobfmt.Decode(index, layer, blobfmt.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			checkInvariants(t, tree, layer)
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		alter func(*archivetest.Index)
		says  []string
	}{
		{"version", func(x *archivetest.Index) { x.Version = 2 }, []string{"version 2"}},
		{"version 0", func(x *archivetest.Index) { x.Version = 0 }, []string{"version 0"}},
		{"hash algorithm", func(x *archivetest.Index) { x.HashAlgorithm = 1 }, []string{"hash algorithm 1"}},
		{"data hash", func(x *archivetest.Index) { x.DataHash[7] ^= 1 }, []string{"the manifest says sha256:"}},
		{"short data hash", func(x *archivetest.Index) { x.DataHash = x.DataHash[:20] }, []string{"20 bytes, not 32"}},
		{"data size", func(x *archivetest.Index) { x.DataSize++ }, []string{"the manifest says"}},
		{"compression", func(x *archivetest.Index) { x.Find("foo.txt").Compression = 2 }, []string{`"foo.txt"`, "compression 2"}},
		{"negative compression", func(x *archivetest.Index) { x.Find("foo.txt").Compression = 0xff }, []string{`"foo.txt"`, "compression"}},
		{"past the end", func(x *archivetest.Index) { x.Find("ünï/cödé").DataOffset++ }, []string{`"ünï/cödé"`, "outside the data"}},
		{"range overflows", func(x *archivetest.Index) {
			e := x.Find("foo.txt")
			e.DataOffset, e.DataSize, e.OriginalSize = math.MaxUint64-1, 5, 5
		}, []string{`"foo.txt"`, "outside the data"}},
		{"length overflows", func(x *archivetest.Index) {
			e := x.Find("foo.txt")
			e.DataOffset, e.DataSize, e.OriginalSize = 5, math.MaxUint64-1, math.MaxInt64
		}, []string{`"foo.txt"`, "outside the data"}},
		{"size is negative", func(x *archivetest.Index) { x.Find("foo.txt").OriginalSize = 1 << 63 }, []string{`"foo.txt"`, "size"}},
		{"sizes overflow", func(x *archivetest.Index) {
			for i := range x.Entries {
				x.Entries[i].Compression, x.Entries[i].DataSize, x.Entries[i].OriginalSize = 1, 1, math.MaxInt64
			}
		}, []string{"size"}},
		{"stored, other size", func(x *archivetest.Index) { x.Find("foo.txt").OriginalSize-- }, []string{`"foo.txt"`, "stored as 5 bytes but has 4"}},
		{"no frame", func(x *archivetest.Index) {
			e := x.Find("foo.txt")
			e.Compression, e.DataSize = 1, 0
		}, []string{`"foo.txt"`, "no zstd frame"}},
		{"short hash", func(x *archivetest.Index) { x.Find("foo.txt").Hash = make([]byte, 31) }, []string{`"foo.txt"`, "31 bytes"}},
		{"no hash", func(x *archivetest.Index) { x.Find("foo.txt").Hash = nil }, []string{`"foo.txt"`, "0 bytes"}},
		{"no path", func(x *archivetest.Index) { x.Find("foo.txt").Path = "" }, []string{`""`}},
		{"path leaves", func(x *archivetest.Index) { x.Find("foo.txt").Path = "../foo.txt" }, []string{`"../foo.txt"`}},
		{"path is no text", func(x *archivetest.Index) { x.Find("foo.txt").Path = "\xff" }, []string{`"\xff"`}},
		{"path is long", func(x *archivetest.Index) { x.Find("foo.txt").Path = strings.Repeat("a", 1<<20) }, []string{"entry 2", "1048576"}},
		{"twice", func(x *archivetest.Index) { x.Find("foo.txt").Path = "foo/a.txt" }, []string{`"foo/a.txt"`, "twice"}},
		{"file and folder", func(x *archivetest.Index) { x.Find("foo.txt").Path = "foo" }, []string{`"foo"`, "folder"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			index, data := archivetest.Build(sample, archivetest.Options{Sorted: true, Alter: c.alter})
			_, layer := archivetest.Layers(index, data)
			refused(t, index, layer, blobfmt.Limits{}, c.says...)
		})
	}
}

func refused(t *testing.T, index []byte, layer oci.Descriptor, lim blobfmt.Limits, says ...string) {
	t.Helper()
	tree, err := blobfmt.Decode(index, layer, lim)
	if !errors.Is(err, fault.IndexInvalid) {
		t.Fatalf("got %v, %v", tree, err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%v: does not say %s", err, s)
		}
	}
	if len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestDecodeLimits(t *testing.T) {
	index, data := archivetest.Build(sample, archivetest.Options{})
	_, layer := archivetest.Layers(index, data)
	refused(t, index, layer, blobfmt.Limits{IndexBytes: int64(len(index)) - 1}, "bytes, more than")
	refused(t, index, layer, blobfmt.Limits{Entries: len(sample) - 1}, "5 entries")
	if _, err := blobfmt.Decode(index, layer, blobfmt.Limits{IndexBytes: int64(len(index)), Entries: len(sample)}); err != nil {
		t.Error(err)
	}
}

// TestDecodeCuts has every prefix of an index refused: the root is at its end or its tables are.
func TestDecodeCuts(t *testing.T) {
	index, data := archivetest.Build(sample, archivetest.Options{})
	_, layer := archivetest.Layers(index, data)
	for n := range len(index) - 3 { // the last bytes may be padding
		if tree, err := blobfmt.Decode(index[:n], layer, blobfmt.Limits{}); !errors.Is(err, fault.IndexInvalid) {
			t.Fatalf("%d of %d bytes: %v, %v", n, len(index), tree, err)
		}
	}
}

// TestDecodeMutations changes each byte of an index in several ways. Many of the outcomes are good indexes that say
// something else; they must keep what a tree promises.
func TestDecodeMutations(t *testing.T) {
	g := readGolden(t, "awkward-zstd")
	good, bad := 0, 0
	for i := range g.index {
		for _, flip := range []byte{0x01, 0x04, 0x80, 0xff} {
			mutant := bytes.Clone(g.index)
			mutant[i] ^= flip
			tree, err := blobfmt.Decode(mutant, g.layer, blobfmt.Limits{})
			switch {
			case err == nil:
				good++
				checkInvariants(t, tree, g.layer)
			case errors.Is(err, fault.IndexInvalid):
				bad++
			default:
				t.Errorf("byte %d ^ %#x: %v", i, flip, err)
			}
		}
	}
	t.Logf("%d mutants are indexes, %d are not", good, bad)
}

// TestDecodeUnaligned has an index whose every offset is odd: the format asks for alignment, a reader need not.
func TestDecodeUnaligned(t *testing.T) {
	index, data := archivetest.Build(sample, archivetest.Options{})
	_, layer := archivetest.Layers(index, data)
	moved := append(binary.LittleEndian.AppendUint32(nil, binary.LittleEndian.Uint32(index)+1), 0)
	moved = append(moved, index[4:]...)
	tree, err := blobfmt.Decode(moved, layer, blobfmt.Limits{})
	if err != nil || tree.Len() != len(sample) {
		t.Fatal(tree, err)
	}
}

// TestDecodeRoots has roots that lead nowhere.
func TestDecodeRoots(t *testing.T) {
	word := func(words ...uint32) (b []byte) {
		for _, w := range words {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		return b
	}
	for name, index := range map[string][]byte{
		"nothing":               nil,
		"no root":               {0, 0, 0, 0},
		"root outside":          word(1000),
		"root far outside":      word(math.MaxUint32),
		"vtable before":         word(4, 100),
		"vtable behind":         word(4, 0x80000000),
		"vtable too long":       word(8, 8|8<<16, 4, 0),
		"table too long":        word(8, 4|200<<16, 4, 0),
		"no fields":             word(8, 4|4<<16, 4, 0),
		"entries outside table": word(16, 10|8<<16, 0, 200, 12, 0, 0),
		"vector outside":        word(16, 10|8<<16, 0, 4, 12, 1000, 0),
		"vector too long":       word(16, 10|8<<16, 0, 4, 12, 4, 1),
	} {
		t.Run(name, func(t *testing.T) { refused(t, index, oci.Descriptor{Digest: digest.FromString("")}, blobfmt.Limits{}) })
	}
}

// TestDecodeLargest has the index that costs the most: a million entries that fill 64 MiB, in the worst order.
func TestDecodeLargest(t *testing.T) {
	index := archivetest.LargestIndex(1_000_000, 64<<20, 1)
	var before, during, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tree, err := blobfmt.Decode(index, oci.Descriptor{Digest: digest.FromString("")}, blobfmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&during)
	runtime.GC()
	runtime.ReadMemStats(&after)
	const slots = 4 << 20
	if kept := after.HeapAlloc - before.HeapAlloc; kept > slots {
		t.Errorf("the tree keeps %d bytes beside the index", kept)
	}
	if said := tree.MemoryBytes(); said < int64(len(index)) || said > int64(len(index))+slots {
		t.Errorf("it says %d", said)
	}
	// The rest is garbage: at once the 32 bytes for where each entry's bytes are, at the end 24 to sort by.
	if grown := during.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("%d bytes allocated", grown)
	}
	t.Logf("%d bytes of index, %d of tree", len(index), tree.MemoryBytes())
}

// TestDecodeBombs has small indexes that claim much: entries that share one table, and entries that share one long path.
func TestDecodeBombs(t *testing.T) {
	shared := func(count uint32, slots int) []byte {
		b := binary.LittleEndian.AppendUint32(nil, 20)                 // root table
		b = append(b, 10, 0, 8, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0) // its vtable: entries at 4; padding
		b = binary.LittleEndian.AppendUint32(b, 16)                    // root: vtable 16 bytes before
		b = binary.LittleEndian.AppendUint32(b, 4)                     // the vector follows
		b = binary.LittleEndian.AppendUint32(b, count)                 // its length
		return append(b, make([]byte, 4*slots)...)
	}
	layer := oci.Descriptor{Digest: digest.FromString(""), Size: 0}
	for name, index := range map[string][]byte{
		"16 million slots, none there":         shared(16<<20, 0),
		"4 billion slots, none there":          shared(math.MaxUint32, 100),
		"2 million slots, all there":           shared(2<<20, 2<<20),
		"900,000 slots, all there, no entries": shared(900_000, 900_000),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats // the process is ours: no test here is parallel
			runtime.ReadMemStats(&before)
			refused(t, index, layer, blobfmt.Limits{})
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(8*len(index))+64<<10 {
				t.Errorf("%d bytes allocated for an index of %d", grown, len(index))
			}
		})
	}
}

// TestDecodeSharedPaths has an index of 30 KB whose thousand paths of 4,000 bytes overlap: each begins inside the one
// before.
func TestDecodeSharedPaths(t *testing.T) {
	const count, length = 1000, 4000
	b := flatbuffers.NewBuilder(0)
	// The text is its own length, over and over, so that a string begins at every fourth byte.
	text := b.CreateByteVector(bytes.Repeat(binary.LittleEndian.AppendUint32(nil, length), count+length))
	hash := b.CreateByteVector(make([]byte, 32))
	var tables []flatbuffers.UOffsetT
	for i := range count {
		b.StartObject(10)
		b.PrependUOffsetTSlot(0, text-flatbuffers.UOffsetT(4+4*i), 0)
		b.PrependUOffsetTSlot(4, hash, 0)
		tables = append(tables, b.EndObject())
	}
	entries := b.CreateVectorOfTables(tables)
	b.StartObject(5)
	b.PrependUOffsetTSlot(2, entries, 0)
	b.Finish(b.EndObject())
	refused(t, b.FinishedBytes(), oci.Descriptor{Digest: digest.FromString("")}, blobfmt.Limits{}, "share the bytes")
}

// BenchmarkDecode decodes as many files as the published writer allows.
func BenchmarkDecode(b *testing.B) {
	index, data := archivetest.Build(archivetest.Many(200_000), archivetest.Options{})
	_, layer := archivetest.Layers(index, data)
	b.SetBytes(int64(len(index)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := blobfmt.Decode(index, layer, blobfmt.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
