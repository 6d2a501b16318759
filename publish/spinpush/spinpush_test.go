package spinpush_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish/spinpush"
)

// wasm is what passes for a module.
func wasm(text string) string { return "\x00asm\x01\x00\x00\x00" + text }

// folder makes a folder of files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// packed is an application as it would be pushed.
type packed struct {
	*spinpush.App
	manifest string
	blobs    map[digest.Digest]string
}

func (p packed) parsed(t testing.TB) oci.Manifest {
	t.Helper()
	m, err := oci.ParseManifest(oci.MediaTypeImageManifest, []byte(p.manifest))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (p packed) locked(t testing.TB) string {
	t.Helper()
	layers := p.parsed(t).Layers
	last := layers[len(layers)-1]
	if last.MediaType != spin.MediaTypeLocked {
		t.Fatalf("the last layer is %+v", last)
	}
	return p.blobs[last.Digest]
}

var epoch = time.Unix(1_700_000_000, 0)

// pack packs what dir holds, and holds every blob against its descriptor, from its start and from its middle.
func pack(t testing.TB, dir string, o spinpush.Options) packed {
	t.Helper()
	if o.Epoch == nil {
		o.Epoch = &epoch
	}
	app, err := spinpush.Pack(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	a := app.Artifact()
	p := packed{app, string(a.Manifest), map[digest.Digest]string{}}
	if a.MediaType != oci.MediaTypeImageManifest {
		t.Error(a.MediaType)
	}
	for _, b := range a.Blobs {
		raw := slurp(t, b.Open, 0)
		if digest.FromString(raw) != b.Digest || int64(len(raw)) != b.Size || slurp(t, b.Open, b.Size/2) != raw[b.Size/2:] {
			t.Errorf("the blob %+v is not what it says", b.Descriptor)
		}
		p.blobs[b.Digest] = raw
	}
	for _, d := range append(p.parsed(t).Layers, p.parsed(t).Config) {
		if _, ok := p.blobs[d.Digest]; !ok {
			t.Errorf("%s of the manifest is not pushed", d.Digest)
		}
	}
	return p
}

func slurp(t testing.TB, open func(context.Context, int64) (io.ReadCloser, error), offset int64) string {
	t.Helper()
	r, err := open(t.Context(), offset)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// expand fills in a template: {{digest "x"}}, {{size "x"}} and {{inline "x"}} are those of contents.
func expand(t testing.TB, text string, contents map[string]string) string {
	t.Helper()
	of := func(f func(c string) any) func(string) (any, error) {
		return func(name string) (any, error) {
			c, ok := contents[name]
			if !ok {
				return nil, fmt.Errorf("no content %q", name)
			}
			return f(c), nil
		}
	}
	parsed, err := template.New("").Funcs(template.FuncMap{
		"digest": of(func(c string) any { return digest.FromString(c) }),
		"size":   of(func(c string) any { return len(c) }),
		"inline": of(func(c string) any { return base64.RawStdEncoding.EncodeToString([]byte(c)) }),
	}).Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := parsed.Execute(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// golden is a file of testdata, without its line breaks.
func golden(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(raw), "\n", "")
}

// TestGolden holds an application of two components against the locked application, the config and the manifest as the
// page on formats has them, written by hand.
func TestGolden(t *testing.T) {
	files := map[string]string{
		"web.wasm": wasm("web"), "target/api.wasm": wasm(strings.Repeat("api", 100)),
		"assets/empty": "", "assets/css/one.css": "1", "assets/css/128.css": strings.Repeat("a", 128),
		"assets/css/129.css": strings.Repeat("b", 129), "assets/img/big ünï.png": strings.Repeat("c", 70<<10),
		"assets/css/site.css.map": "left out", "robots.txt": "User-agent: *",
	}
	raw, err := os.ReadFile("testdata/shop.toml")
	if err != nil {
		t.Fatal(err)
	}
	files["spin.toml"] = string(raw)
	dir := folder(t, files)
	p := pack(t, dir, spinpush.Options{Annotations: map[string]string{"k": "v", "org.opencontainers.image.version": "other"}})
	locked := expand(t, golden(t, "shop.locked.json"), files)
	if got := p.locked(t); got != locked {
		t.Errorf("locked application\n%s\nnot\n%s", got, locked)
	}
	files["locked"] = locked
	files["config"] = expand(t, `{"architecture":"wasm","os":"Wasip1","config":{"Labels":{"com.fermyon.spin.lockedAppDigest":"{{digest "locked"}}"}},"rootfs":{"type":"layers","diff_ids":[]}}`, files)
	if want := expand(t, golden(t, "shop.manifest.json"), files); p.manifest != want {
		t.Errorf("manifest\n%s\nnot\n%s", p.manifest, want)
	}
	if p.Components != 2 || p.Files != 8 || p.Size != 11+308+128+129+1+0+70<<10+13+1+70<<10 || p.Bundled {
		t.Errorf("%d components, %d files of %d bytes; bundled: %v", p.Components, p.Files, p.Size, p.Bundled)
	}
	other := pack(t, filepath.Join(folder(t, files), "spin.toml"), spinpush.Options{
		Annotations: map[string]string{"k": "v", "org.opencontainers.image.version": "other"},
	})
	if other.manifest != p.manifest {
		t.Error("the same files elsewhere give another manifest")
	}
}

// TestBundles has 500 layers and more: assets become bundles, which blobd's reader finds every one in.
func TestBundles(t *testing.T) {
	files := map[string]string{"a.wasm": wasm("a"), "b.wasm": wasm("b"), "spin.toml": `spin_manifest_version = 2
application.name = "many"
trigger = {}
component.a = { source = "a.wasm", files = ["many/**/*"] }
component.b = { source = "b.wasm", files = ["few/*"] }
`, "few/small": "s", "few/0": strings.Repeat("x", 200)}
	for i := range 496 {
		files[fmt.Sprintf("many/%d/%03d", i%7, i)] = strings.Repeat(fmt.Sprint(i, " "), 100)
	}
	files["many/copy"] = files["many/0/000"]
	files["many/tiny"] = "t"
	dir := folder(t, files)
	if p := pack(t, dir, spinpush.Options{}); p.Bundled || len(p.parsed(t).Layers) != 499+1 {
		t.Fatalf("bundled %v: %d layers", p.Bundled, len(p.parsed(t).Layers)) // 499 with what is unlike, and the locked application
	}
	if err := os.WriteFile(filepath.Join(dir, "few/1"), []byte(strings.Repeat("y", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	files["few/1"] = strings.Repeat("y", 200)
	p := pack(t, dir, spinpush.Options{})
	m := p.parsed(t)
	var types []string
	for _, l := range m.Layers {
		types = append(types, l.MediaType)
	}
	want := []string{spin.MediaTypeWasm, spin.MediaTypeBundle, spin.MediaTypeWasm, spin.MediaTypeBundle, spin.MediaTypeLocked}
	if !p.Bundled || fmt.Sprint(types) != fmt.Sprint(want) || p.Files != 501 {
		t.Fatalf("%d files, layers %s", p.Files, types)
	}
	app, err := spin.Decode(m, []byte(p.locked(t)), spin.Limits{})
	if err != nil || len(app.Bundles()) != 2 {
		t.Fatal(app, err)
	}
	var members []bundle.Member
	for _, d := range app.Bundles() {
		raw := p.blobs[d.Digest]
		found, err := bundle.Read(strings.NewReader(raw), &d, bundle.Limits{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			want := files[m.Name]
			if m.Sum != sha256.Sum256([]byte(want)) || m.Size != int64(len(want)) || m.ModTime != 0 || m.Mode != 0o644 {
				t.Fatalf("%+v is not %d bytes that are %q", m, len(want), want)
			}
		}
		members = append(members, found...)
	}
	tree, err := app.Tree(members)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for e := range tree.All() {
		n++
		if _, ok := e.Locator.(archive.Member); strings.Contains(e.Path, "/") && !ok && e.Size > 128 {
			t.Errorf("%s is %T", e.Path, e.Locator)
		}
	}
	if n != 501+2+1 {
		t.Errorf("%d files", n)
	}
	elsewhere := folder(t, files)
	if again := pack(t, elsewhere, spinpush.Options{}); again.manifest != p.manifest {
		t.Error("the same files elsewhere give another manifest")
	}
}

// TestChanges has a file change after it was read.
func TestChanges(t *testing.T) {
	dir := folder(t, map[string]string{"a.wasm": wasm("a"), "big": strings.Repeat("x", 1000), "spin.toml": `spin_manifest_version = 2
application.name = "changes"
trigger.http = [{ component = { source = "a.wasm", files = ["big"] }, route = "/" }]
`})
	p := pack(t, dir, spinpush.Options{})
	if err := os.WriteFile(filepath.Join(dir, "big"), bytes.Repeat([]byte("y"), 1001), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, b := range p.Artifact().Blobs {
		if b.Size == 1000 {
			if _, err := b.Open(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "big") {
				t.Errorf("got %v", err)
			}
			return
		}
	}
	t.Error("no blob has the file")
}

// TestSpoolGoes has nothing left of what Pack made, be it a success or not.
func TestSpoolGoes(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	files := map[string]string{"a.wasm": wasm("a"), "spin.toml": `spin_manifest_version = 2
application.name = "many"
trigger = {}
component.a = { source = "a.wasm", files = ["many/*"] }
`}
	for i := range 600 {
		files[fmt.Sprintf("many/%03d", i)] = strings.Repeat(fmt.Sprint(i, " "), 100)
	}
	app, err := spinpush.Pack(t.Context(), folder(t, files), spinpush.Options{})
	if err != nil || !app.Bundled {
		t.Fatal(err)
	}
	if left := entries(t, temp); len(left) != 1 {
		t.Errorf("while it is there: %q", left)
	}
	app.Close()
	files["spin.toml"] += "component.b = { source = { url = \"http://127.0.0.1:1/\", digest = \"" + digest.FromString("").String() + "\" } }"
	if _, err := spinpush.Pack(t.Context(), folder(t, files), spinpush.Options{}); err == nil {
		t.Error("it was packed")
	}
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
