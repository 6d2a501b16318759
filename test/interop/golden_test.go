package interop_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/peer"
	"github.com/blobd/blobd/test/interop/source"
)

var update = flag.Bool("update", false, "write the golden archives of archive/blobfmt anew")

// TestGolden holds the archives that archive/blobfmt keeps as test data against what the library writes today, but for
// what differs from run to run: who owns the files, when the manifest was made, and how well zstd compresses.
func TestGolden(t *testing.T) {
	folder := filepath.Join("..", "..", "archive", "blobfmt", "testdata")
	reg := registrytest.New(t, registrytest.Options{})
	for _, c := range []struct {
		name        string
		fill        func(dir string) error
		compression peer.Compression
	}{
		{"empty", nothing, peer.Stored},
		{"awkward-stored", source.Awkward, peer.Stored},
		{"awkward-zstd", source.Awkward, peer.Zstd},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := peer.Push(t.Context(), reg.PushHost()+"/"+c.name+":v1", made(t, c.fill), c.compression); err != nil {
				t.Fatal(err)
			}
			fresh := fetch(t, reg.PushHost(), c.name, "v1")
			manifestFile := filepath.Join(folder, c.name+".manifest.json")
			indexFile := filepath.Join(folder, c.name+".index")
			if *update {
				write(t, manifestFile, fresh.manifest)
				write(t, indexFile, fresh.index)
				write(t, filepath.Join(folder, c.name+".data"), fresh.data)
			}
			m, err := oci.ParseManifest("", read(t, manifestFile))
			if err != nil {
				t.Fatal(err)
			}
			_, data, err := blobfmt.Layers(m)
			if err != nil {
				t.Fatal(err)
			}
			golden, err := blobfmt.Decode(read(t, indexFile), data, blobfmt.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if golden.Len() != fresh.tree.Len() {
				t.Errorf("the golden archive has %d files, a fresh one %d", golden.Len(), fresh.tree.Len())
			}
			for want := range fresh.tree.All() {
				got, err := golden.Lookup(want.Path)
				if err != nil || got.Size != want.Size || got.Sum != want.Sum || got.Mode != want.Mode || got.ModTime != want.ModTime {
					t.Errorf("%+v, a fresh one is %+v: %v; was -update forgotten?", got, want, err)
				}
			}
		})
	}
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
