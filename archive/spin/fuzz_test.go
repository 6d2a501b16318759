package spin_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// FuzzDecode feeds Decode anything as a locked application, of a manifest with a few layers or with bundles too. It must
// answer with an application whose tree keeps its promises or with IndexInvalid, in memory that is a small multiple of the
// input; and what it takes is JSON of a version that it knows.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"layers", "bundles", "config", "dependencies"} {
		_, locked := application(f, name)
		f.Add([]byte(locked), false)
		f.Add([]byte(locked), true)
	}
	for _, s := range []string{"", "{}", "null", document(""), document(component("a", `{"inline":"","path":"../x"}`)), `{"spin_lock_version":2}`} {
		f.Add([]byte(expand(f, s, nil)), true)
	}
	plain := layersOf("web.wasm", "api.wasm", "dep.wasm", "129", "70k")
	bundled := layersOf("web.wasm", "api.wasm", "dep.wasm", "assets.gz", "more.gz")
	inBundles := slices.Concat(members("assets.gz", "129", "one", "empty"), members("more.gz", "70k", "128"))
	f.Fuzz(func(t *testing.T, raw []byte, bundles bool) {
		m := plain
		if bundles {
			m = bundled
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		app, err := spin.Decode(m, raw, spin.Limits{})
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(200*len(raw))+256<<10 {
			t.Errorf("%d bytes allocated for %d", grown, len(raw))
		}
		if err != nil {
			if !errors.Is(err, fault.IndexInvalid) || app != nil || len(err.Error()) > 4000 {
				t.Errorf("%v, %v", app, err)
			}
			return
		}
		var head map[string]json.RawMessage
		if err := json.Unmarshal(raw, &head); err != nil || !slices.Contains([]string{"0", "1"}, string(head["spin_lock_version"])) || !spin.IsLocked(raw) {
			t.Errorf("taken, but: %v, version %s", err, head["spin_lock_version"])
		}
		if app.Bundles() != nil && !bundles {
			t.Errorf("bundles %v", app.Bundles())
		}
		tree, err := app.Tree(inBundles)
		if err != nil {
			if !errors.Is(err, fault.IndexInvalid) {
				t.Error(err)
			}
			return
		}
		checkTree(t, tree, m, raw)
	})
}

// checkTree has what every application's tree promises.
func checkTree(t *testing.T, tree *archive.Tree, m oci.Manifest, raw []byte) {
	for e := range tree.All() {
		top, _, _ := strings.Cut(e.Path, "/")
		if !fs.ValidPath(e.Path) || strings.ContainsAny(e.Path, "\\\x00") || len(e.Path) > archive.MaxPath || strings.Contains(top, ":") && top[1] == ':' {
			t.Errorf("path %q", e.Path)
		}
		if e.Size < 0 || e.Mode != archive.PlainMode || !e.HasSum {
			t.Errorf("%+v", e)
		}
		switch l := e.Locator.(type) {
		case archive.Inline:
			if int64(len(l.Data)) != e.Size || sha256.Sum256(l.Data) != e.Sum || len(l.Data) > len(raw) {
				t.Errorf("%q: its content is not what it says", e.Path)
			}
		case archive.Range:
			isIt := func(d oci.Descriptor) bool { return d.Digest == l.Blob.Digest && d.Size == l.Blob.Size }
			if !l.Whole || !slices.ContainsFunc(m.Layers, isIt) || e.Size != l.Length || l.Blob.Digest != digest.NewDigestFromBytes(digest.SHA256, e.Sum[:]) {
				t.Errorf("%q: %+v", e.Path, l)
			}
		case archive.Member:
			isIt := func(d oci.Descriptor) bool { return d.Digest == l.Blob.Digest && d.MediaType == spin.MediaTypeBundle }
			if !slices.ContainsFunc(m.Layers, isIt) || l.Offset < 512 {
				t.Errorf("%q: %+v", e.Path, l)
			}
		default:
			t.Errorf("%q is nowhere", e.Path)
		}
	}
	if e, err := tree.Lookup("locked.json"); err != nil || e.Sum != sha256.Sum256(raw) {
		t.Errorf("locked.json: %v", err)
	}
}
