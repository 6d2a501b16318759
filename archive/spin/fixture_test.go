package spin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/oci"
)

// contents are the blobs that testdata speaks of.
var contents = map[string]string{
	"web.wasm":  "\x00asm\x0d\x00\x01\x00web",
	"api.wasm":  "\x00asm\x0d\x00\x01\x00" + strings.Repeat("api", 100),
	"dep.wasm":  "\x00asm\x0d\x00\x01\x00dep",
	"empty":     "",
	"one":       "1",
	"128":       strings.Repeat("a", 128),
	"129":       strings.Repeat("b", 129),
	"70k":       strings.Repeat("c", 70<<10),
	"assets.gz": "stands for a bundle of web's assets",
	"more.gz":   "stands for a bundle of api's assets",
	"config":    `{"architecture":"wasm","os":"Wasip1","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`,
	"empty{}":   "{}",
	"other":     "something else",
}

// fixture reads a template of testdata: {{digest "x"}}, {{size "x"}} and {{inline "x"}} are those of contents and of more.
func fixture(t testing.TB, name string, more map[string]string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return expand(t, strings.TrimSuffix(string(raw), "\n"), more)
}

func expand(t testing.TB, text string, more map[string]string) string {
	t.Helper()
	content := func(name string) (string, error) {
		for _, m := range []map[string]string{contents, more} {
			if c, ok := m[name]; ok {
				return c, nil
			}
		}
		return "", fmt.Errorf("no content %q", name)
	}
	of := func(f func(c string) any) func(name string) (any, error) {
		return func(name string) (any, error) {
			c, err := content(name)
			return f(c), err
		}
	}
	var b strings.Builder
	tmpl, err := template.New("").Funcs(template.FuncMap{
		"digest": of(func(c string) any { return digest.FromString(c) }),
		"size":   of(func(c string) any { return len(c) }),
		"inline": of(func(c string) any { return base64.RawStdEncoding.EncodeToString([]byte(c)) }),
	}).Parse(text)
	if err == nil {
		err = tmpl.Execute(&b, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// application reads the manifest and the locked application of that name in testdata.
func application(t testing.TB, name string) (m oci.Manifest, locked string) {
	t.Helper()
	locked = fixture(t, name+".locked.json", nil)
	return parse(t, fixture(t, name+".manifest.json", map[string]string{"locked": locked})), locked
}

// parse reads a manifest that, as Spin writes it, does not say what it is.
func parse(t testing.TB, raw string) oci.Manifest {
	t.Helper()
	m, err := oci.ParseManifest(oci.MediaTypeImageManifest, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// show draws a tree: path, size and where the bytes are, by the names of contents.
func show(t testing.TB, tree *archive.Tree) string {
	t.Helper()
	names := map[digest.Digest]string{}
	for name, c := range contents {
		names[digest.FromString(c)] = name
	}
	var b strings.Builder
	for e := range tree.All() {
		if e.Mode != archive.PlainMode || e.UID != 0 || e.GID != 0 || e.ModTime != 0 || !e.HasSum {
			t.Errorf("%s: %+v", e.Path, e)
		}
		fmt.Fprintf(&b, "%s %d ", e.Path, e.Size)
		switch l := e.Locator.(type) {
		case archive.Inline:
			if sha256.Sum256(l.Data) != e.Sum || int64(len(l.Data)) != e.Size {
				t.Errorf("%s: other bytes", e.Path)
			}
			b.WriteString("inline\n")
		case archive.Range:
			if !l.Whole || l.Blob.Digest != digest.NewDigestFromBytes(digest.SHA256, e.Sum[:]) || l.Blob.Size != e.Size {
				t.Errorf("%s: %+v", e.Path, l)
			}
			fmt.Fprintf(&b, "blob %s\n", names[l.Blob.Digest])
		case archive.Member:
			fmt.Fprintf(&b, "%s+%d %s\n", names[l.Blob.Digest], l.Offset, names[digest.NewDigestFromBytes(digest.SHA256, e.Sum[:])])
		}
	}
	return b.String()
}

// members are the members of a bundle that hold contents of these names, one after another.
func members(bundleName string, names ...string) (ms []bundle.Member) {
	blob := &oci.Descriptor{Digest: digest.FromString(contents[bundleName]), Size: int64(len(contents[bundleName]))}
	offset := int64(0)
	for i, name := range names {
		offset += 512
		c := contents[name]
		ms = append(ms, bundle.Member{
			Name: fmt.Sprint("file", i), Blob: blob, Offset: offset, Size: int64(len(c)), Sum: sha256.Sum256([]byte(c)),
			Mode: 0o755 | fs.ModePerm, ModTime: 5,
		})
		offset += (int64(len(c)) + 511) / 512 * 512
	}
	return ms
}
