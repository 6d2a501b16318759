package blobfmt_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/oci"
)

// golden is an archive that the published library wrote; test/interop makes them (-update).
type golden struct {
	index, data []byte
	layer       oci.Descriptor // of the data
}

func readGolden(t testing.TB, name string) golden {
	t.Helper()
	file := func(suffix string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name+suffix))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m, err := oci.ParseManifest(oci.MediaTypeImageManifest, file(".manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !blobfmt.Matches(m) {
		t.Error("the manifest is not a blob archive's")
	}
	index, data, err := blobfmt.Layers(m)
	if err != nil {
		t.Fatal(err)
	}
	g := golden{index: file(".index"), data: file(".data"), layer: data}
	if digest.FromBytes(g.index) != index.Digest || digest.FromBytes(g.data) != data.Digest {
		t.Error("the layers are not those of the manifest")
	}
	return g
}

// goldenNames are all there are.
func goldenNames() []string { return []string{"empty", "awkward-stored", "awkward-zstd"} }

func TestGolden(t *testing.T) {
	awkward := []string{ // as fs.WalkDir lists them
		" leading", "a", "a-b/c", "a.b/c", "b/c/d/e/f/g/h", "b/c-d", "b/c.d", "b/cc", "bin/readonly", "bin/run", "empty",
		"foo/a.txt", "foo/b/c/d.txt", "foo/empty", "foo!/x", "foo-bar/x", "foo-bar.txt", "foo.txt", "foo0", "secret",
		"with space/and more", "ünï/cödé.txt", "日本語/ファイル", "🙂",
	}
	modes := map[string]uint32{"bin/run": 0o755, "bin/readonly": 0o444, "secret": 0o600, "foo/empty": 0o600}
	zr, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	for _, name := range goldenNames() {
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, name)
			tree, err := blobfmt.Decode(g.index, g.layer, blobfmt.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			checkInvariants(t, tree, g.layer)
			var paths []string
			for e := range tree.All() {
				paths = append(paths, e.Path)
				r := e.Locator.(archive.Range)
				content := g.data[r.Offset : r.Offset+r.Length]
				if r.Codec == archive.Zstd {
					if content, err = zr.DecodeAll(content, nil); err != nil {
						t.Errorf("%s: %v", e.Path, err)
					}
				}
				if int64(len(content)) != e.Size || sha256.Sum256(content) != e.Sum {
					t.Errorf("%s: its range holds %q", e.Path, content)
				}
				mode, ok := modes[e.Path]
				if !ok {
					mode = 0o644
				}
				if uint32(e.Mode) != mode || !e.Time().Equal(time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)) {
					t.Errorf("%s: %v, %v", e.Path, e.Mode, e.Time())
				}
			}
			if name != "empty" && !slices.Equal(paths, awkward) || name == "empty" && paths != nil {
				t.Errorf("files: %q", paths)
			}
		})
	}
}
