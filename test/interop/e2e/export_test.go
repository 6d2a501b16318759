package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/spintest"
)

// spinTree is a folder as the format page has Spin's cache: path to content, with the separators and names of this system.
type spinTree map[string]string

func (s spinTree) put(data []byte, parts ...string) {
	for i, p := range parts {
		if runtime.GOOS == "windows" {
			parts[i] = strings.ReplaceAll(p, ":", "_")
		}
	}
	s[filepath.Join(append([]string{"registry"}, parts...)...)] = string(data)
}

func readTree(t *testing.T, dir string) spinTree {
	t.Helper()
	out := spinTree{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameTree(t *testing.T, what string, got, want spinTree) {
	t.Helper()
	for path, data := range want {
		if g, ok := got[path]; !ok || g != data {
			t.Errorf("%s: %s has %d bytes (there: %v), want %d", what, path, len(g), ok, len(data))
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %s is not wanted", what, path)
		}
	}
}

func (w *world) putSpin(repository, tag string, a *spintest.Artifact) {
	w.t.Helper()
	for _, data := range a.Blobs {
		w.reg.PutBlob(w.t, repository, data)
	}
	w.reg.PutManifest(w.t, repository, tag, oci.MediaTypeImageManifest, a.Manifest)
}

type exportReport struct{ Written, Kept, Size int64 }

func (w *world) export(dir, ref string) (r exportReport) {
	w.t.Helper()
	out := w.run("-o", "json", "export", "--spin-cache", dir, ref)
	if err := json.Unmarshal(out, &r); err != nil {
		w.t.Fatalf("%s: %v", out, err)
	}
	return r
}

// shopParts are two components with assets of all sizes that matter, one of them in both.
func shopParts() []spintest.Component {
	assets := []spintest.File{
		{Path: "empty"}, {Path: "one", Data: []byte("1")}, {Path: "img/128", Data: noise(128)}, {Path: "img/129", Data: noise(129)},
		{Path: "big.bin", Data: noise(70 << 10)},
	}
	return []spintest.Component{
		{ID: "web", Wasm: append([]byte("\x00asm\x0d\x00\x01\x00"), noise(200_000)...), Files: assets},
		{ID: "api", Wasm: []byte("\x00asm\x0d\x00\x01\x00api"), Files: assets[4:], Deps: map[string][]byte{"log": []byte("\x00asm\x0d\x00\x01\x00log")}},
	}
}

// An application stands in Spin's cache as Spin would have put it there, whichever way it was written; a second export
// writes nothing; what is damaged is mended, and the rest left alone.
func TestExportSpin(t *testing.T) {
	w := newWorld(t, setup{})
	for name, o := range map[string]spintest.Options{"layers": {}, "bundled": {Bundled: true}, "old": {Old: true}} {
		t.Run(name, func(t *testing.T) {
			parts := shopParts()
			app := spintest.Application(o, parts...)
			w.putSpin("acme/team/"+name, "v1", app)
			ref := w.ref("acme/team/" + name + ":v1")
			want := spinTree{}
			for _, c := range parts {
				want.put(c.Wasm, "wasm", sha(c.Wasm))
				for _, wasm := range c.Deps {
					want.put(wasm, "wasm", sha(wasm))
				}
				for _, f := range c.Files {
					if o.Bundled || len(f.Data) > 128 { // the others stand in the locked application
						want.put(f.Data, "data", sha(f.Data))
					}
				}
			}
			for _, d := range app.Bundles {
				want.put(app.Blobs[d], "data", d.String())
			}
			want.put(app.Manifest, "manifests", w.reg.Host(), "acme", "team", name, "v1", "manifest.json")
			want.put(app.Locked, "manifests", w.reg.Host(), "acme", "team", name, "v1", "config.json")

			dir := filepath.Join(t.TempDir(), "spin")
			if r := w.export(dir, ref); r.Written != int64(len(want)) || r.Kept != 0 {
				t.Errorf("%+v, want %d files written", r, len(want))
			}
			sameTree(t, "exported", readTree(t, dir), want)

			before := map[string]os.FileInfo{}
			for path := range want {
				before[path], _ = os.Stat(filepath.Join(dir, path))
			}
			if r := w.export(dir, ref); r.Written != 0 || r.Kept != int64(len(want)) || r.Size != 0 {
				t.Errorf("again: %+v", r)
			}
			for path, fi := range before {
				if now, err := os.Stat(filepath.Join(dir, path)); err != nil || !os.SameFile(fi, now) || !now.ModTime().Equal(fi.ModTime()) {
					t.Errorf("again: %s was written", path)
				}
			}

			// Damage of every kind, to all that has more than some bytes, and a neighbour of Spin's own.
			other := filepath.Join(dir, "registry", "data", "of-another-application")
			if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			damaged := int64(0)
			for path, data := range want {
				bad := []byte(data[:len(data)/2])
				if damaged%2 == 1 && len(data) > 0 {
					bad = append([]byte{data[0] ^ 1}, data[1:]...)
				}
				if len(data) == 0 {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, path), bad, 0o644); err != nil {
					t.Fatal(err)
				}
				damaged++
			}
			if r := w.export(dir, ref); r.Written != damaged {
				t.Errorf("after damage to %d: %+v", damaged, r)
			}
			want.put([]byte("mine"), "data", "of-another-application")
			sameTree(t, "mended", readTree(t, dir), want)
		})
	}
}

// A reference by digest alone touches no tag's folder: Spin's own way would be to take "latest".
func TestExportSpinByDigest(t *testing.T) {
	w := newWorld(t, setup{})
	app := spintest.Application(spintest.Options{}, shopParts()...)
	w.putSpin("acme/app", "v1", app)
	dir := t.TempDir()
	mine := filepath.Join(dir, "registry", "manifests", filepath.FromSlash("x/acme/app/latest/config.json"))
	if err := os.MkdirAll(filepath.Dir(mine), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.export(dir, w.ref("acme/app@"+app.Digest().String()))
	manifests := 0
	for path, data := range readTree(t, dir) {
		if strings.Contains(path, "manifests") {
			manifests++
			if data != "mine" {
				t.Errorf("%s was written", path)
			}
		}
	}
	if manifests != 1 {
		t.Errorf("%d files of tags", manifests)
	}
	w.export(dir, w.ref("acme/app:v1@"+app.Digest().String())) // a tag that the caller names
	if n := len(readTree(t, dir)); n != 1+2+5 {
		t.Errorf("%d files", n)
	}
}

// What is no application is refused by name, and nothing is written.
func TestExportSpinRefuses(t *testing.T) {
	w := newWorld(t, setup{})
	w.putSpin("acme/bare", "v1", spintest.Bare(spintest.Wasm, "", shopParts()[1].Wasm))
	w.putSpin("acme/plain", "v1", spintest.Plain(spintest.Layer{Title: "locked.json", Data: []byte(`{"spin_lock_version":0,"components":[]}`)}))
	w.run("push", site(t, map[string]string{"locked.json": `{"spin_lock_version":0}`}), w.ref("acme/archive:v1"))
	dir := filepath.Join(t.TempDir(), "spin")
	for name, says := range map[string]string{"bare": "single component", "plain": "no Spin application", "archive": "vnd.meigma.blob"} {
		r := w.Run(t.Context(), "export", "--spin-cache", dir, w.ref("acme/"+name+":v1"))
		if r.Exit != 5 || !strings.Contains(r.Stderr, says) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := w.Run(t.Context(), "export", w.ref("acme/bare:v1")); r.Exit != 2 || !strings.Contains(r.Stderr, "--spin-cache") {
		t.Errorf("without a folder: %+v", r)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a folder was made")
	}
}

// Whoever reads the cache while exports come and go, as Spin does, finds each file whole or not at all.
func TestExportSpinBesideReaders(t *testing.T) {
	w := newWorld(t, setup{})
	parts := shopParts()
	parts[0].Wasm = append([]byte("\x00asm\x0d\x00\x01\x00"), noise(4<<20)...)
	app := spintest.Application(spintest.Options{}, parts...)
	w.putSpin("acme/app", "v1", app)
	dir := t.TempDir()
	done := make(chan struct{})
	var readers sync.WaitGroup
	seen := map[string]int{}
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, kind := range []string{"wasm", "data"} {
				list, _ := os.ReadDir(filepath.Join(dir, "registry", kind))
				for _, e := range list {
					if !strings.HasPrefix(e.Name(), "sha256") {
						continue // a file on its way, which Spin never asks for
					}
					data, err := os.ReadFile(filepath.Join(dir, "registry", kind, e.Name()))
					if os.IsNotExist(err) {
						continue
					}
					if want := strings.ReplaceAll(e.Name(), "_", ":"); err != nil || sha(data) != want {
						t.Errorf("%s: %d bytes, %v", e.Name(), len(data), err)
					}
					seen[e.Name()]++
				}
			}
		}
	})
	for range 4 {
		var all sync.WaitGroup
		for range 3 { // several exports at once
			all.Go(func() {
				if r := w.Run(t.Context(), "export", "--spin-cache", dir, w.ref("acme/app:v1")); r.Exit != 0 {
					t.Errorf("%+v", r)
				}
			})
		}
		all.Wait()
		for _, kind := range []string{"wasm", "data"} {
			list, err := os.ReadDir(filepath.Join(dir, "registry", kind))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if strings.HasPrefix(e.Name(), ".") {
					t.Errorf("%s was left behind", e.Name())
				}
				if err := os.Remove(filepath.Join(dir, "registry", kind, e.Name())); err != nil {
					t.Error(err)
				}
			}
		}
	}
	close(done)
	readers.Wait()
	if len(seen) != 5 {
		t.Errorf("the reader saw %d files: %s", len(seen), fmt.Sprint(seen))
	}
}
