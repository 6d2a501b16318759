package blobfmt_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func newEncoder(t testing.TB) *blobfmt.Encoder {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return blobfmt.NewEncoder(f)
}

// encoded are entries with all kinds of numbers and lengths of paths, one after another in the data.
func encoded(n int) (entries []archive.Entry, data oci.Descriptor) {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	paths := map[string]bool{}
	for len(paths) < n {
		paths[fmt.Sprintf("%c%s/%s-ü", 'a'+rune(rng.IntN(26)), strings.Repeat("x", rng.IntN(12)), strings.Repeat("y", 1+rng.IntN(20)))] = true
	}
	var sorted []string
	for p := range paths {
		sorted = append(sorted, p)
	}
	slices.Sort(sorted)
	at := int64(0)
	for i, p := range sorted {
		size := rng.Int64N(1 << 40)
		e := archive.Entry{
			Path: p, Size: size, Mode: 0o640, UID: rng.Uint32(), GID: rng.Uint32(), ModTime: rng.Int64() - 1<<62,
			Sum: sha256.Sum256([]byte(p)), HasSum: true,
		}
		r := archive.Range{Offset: at, Length: size}
		if i%3 == 1 {
			r.Codec, r.Length = archive.Zstd, size/2+1
		}
		at += r.Length
		e.Locator = r
		entries = append(entries, e)
	}
	return entries, oci.Descriptor{Digest: digest.FromString("data"), Size: at}
}

// What is encoded is decoded to the same entries, whatever their number, and can be read back before.
func TestEncodeDecode(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 5, 100, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			entries, data := encoded(n)
			enc := newEncoder(t)
			for _, e := range entries {
				if err := enc.Add(e); err != nil {
					t.Fatal(err)
				}
			}
			i := 0
			for back, err := range enc.Entries() {
				if err != nil || !reflect.DeepEqual(back, entries[i]) {
					t.Fatalf("%+v, %v; added %+v", back, err, entries[i])
				}
				i++
			}
			if i != n || enc.Len() != n {
				t.Fatalf("%d entries, Len %d", i, enc.Len())
			}
			raw, err := io.ReadAll(iotest.OneByteReader(enc.Index(data)))
			if err != nil || int64(len(raw)) != enc.IndexSize() {
				t.Fatalf("%d bytes, said %d: %v", len(raw), enc.IndexSize(), err)
			}
			tree, err := blobfmt.Decode(raw, data, blobfmt.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range entries {
				got, err := tree.Lookup(want.Path)
				if err != nil {
					t.Fatal(err)
				}
				r := want.Locator.(archive.Range)
				if want.Size == 0 {
					r.Length = 0
				}
				r.Blob = &data
				want.Locator = r
				if !reflect.DeepEqual(*got, want) {
					t.Fatalf("decoded %+v, added %+v", *got, want)
				}
			}
			if again, _ := io.ReadAll(enc.Index(data)); !slices.Equal(again, raw) {
				t.Error("written twice, it differs")
			}
		})
	}
}

func TestEncoderRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []string
		want  fault.Reason
	}{
		{"not sorted by bytes", []string{"foo/a", "foo-b"}, fault.InvalidPath},
		{"twice", []string{"a", "a"}, fault.InvalidPath},
		{"not UTF-8", []string{"a\xff"}, fault.InvalidPath},
		{"the folder", []string{"."}, fault.InvalidPath},
		{"above", []string{"../a"}, fault.InvalidPath},
		{"too long", []string{strings.Repeat("x", archive.MaxPath+1)}, fault.InvalidPath},
	} {
		t.Run(c.name, func(t *testing.T) {
			enc := newEncoder(t)
			var err error
			for _, p := range c.paths {
				err = errors.Join(err, enc.Add(archive.Entry{Path: p, Locator: archive.Range{}}))
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	enc := newEncoder(t)
	if err := enc.Add(archive.Entry{Path: strings.Repeat("x", archive.MaxPath), Locator: archive.Range{}}); err != nil {
		t.Errorf("the longest path: %v", err)
	}
	if err := enc.Add(archive.Entry{Path: "y", Locator: archive.Inline{}}); err == nil {
		t.Error("an inline entry was taken")
	}
	if _, err := io.ReadAll(enc.Index(oci.Descriptor{Digest: digest.SHA512.FromString("x")})); err == nil {
		t.Error("data with a sha512")
	}
}

// What an entry costs in memory does not depend on its path.
func TestEncoderKeepsNothing(t *testing.T) {
	enc := newEncoder(t)
	path := strings.Repeat("x", 2000)
	i := 0
	allocated := testing.AllocsPerRun(2000, func() {
		i++
		if err := enc.Add(archive.Entry{Path: fmt.Sprintf("%s%06d", path, i), Locator: archive.Range{}}); err != nil {
			t.Fatal(err)
		}
	})
	if allocated > 8 {
		t.Errorf("%v allocations an entry", allocated)
	}
	if got := enc.IndexSize(); got < 2000*2000 {
		t.Errorf("the index has %d bytes", got)
	}
}

// The places of 8-byte integers are multiples of 8, as the format asks of writers.
func TestEncodeAligned(t *testing.T) {
	entries, data := encoded(7)
	enc := newEncoder(t)
	for _, e := range entries {
		e.Size = 0x1122334455667788
		if err := enc.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := io.ReadAll(enc.Index(data))
	if err != nil {
		t.Fatal(err)
	}
	mark := "\x88\x77\x66\x55\x44\x33\x22\x11"
	seen := 0
	for at := 0; ; at++ {
		next := strings.Index(string(raw[at:]), mark)
		if next < 0 {
			break
		}
		if at += next; at%8 != 0 {
			t.Errorf("a size at %d", at)
		}
		seen++
	}
	if seen != len(entries) {
		t.Errorf("%d sizes found", seen)
	}
}

func TestManifestOfAnArchive(t *testing.T) {
	index := oci.Descriptor{Digest: digest.FromString("index"), Size: 5}
	data := oci.Descriptor{Digest: digest.FromString("data"), Size: 4}
	raw := blobfmt.Manifest(index, data, map[string]string{"b": "2", "a": "1"}).Encode()
	m, err := oci.ParseManifest("", raw)
	if err != nil || !blobfmt.Matches(m) || !reflect.DeepEqual(m.Config, oci.EmptyConfig()) {
		t.Fatalf("%+v, %v", m, err)
	}
	i, d, err := blobfmt.Layers(m)
	if err != nil || i.Digest != index.Digest || i.Size != 5 || d.Digest != data.Digest || d.Size != 4 {
		t.Errorf("%+v %+v %v", i, d, err)
	}
	if !strings.Contains(string(raw), `"annotations":{"a":"1","b":"2"}`) {
		t.Errorf("%s", raw)
	}
}
