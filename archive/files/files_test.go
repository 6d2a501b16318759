package files_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/archive/files"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// layer is a descriptor as `oras push` writes it; a content of "" has the digest of nothing, and is legal.
func layer(title, content string, unpack bool) string {
	annotations := fmt.Sprintf(`"org.opencontainers.image.title":%q`, title)
	if unpack {
		annotations = `"io.deis.oras.content.digest":"sha256:00","io.deis.oras.content.unpack":"true",` + annotations
	}
	return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d,"annotations":{%s}}`,
		digest.FromString(content), len(content), annotations)
}

// untitled is a layer that is no file.
func untitled(content string) string {
	return fmt.Sprintf(`{"mediaType":"application/octet-stream","digest":%q,"size":%d}`, digest.FromString(content), len(content))
}

func manifest(t testing.TB, layers ...string) oci.Manifest {
	t.Helper()
	m, err := oci.ParseManifest("", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.unknown.artifact.v1",
		"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},
		"layers":[`+strings.Join(layers, ",")+`],"annotations":{"org.opencontainers.image.created":"2026-01-02T03:04:05Z"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// folder is what oras makes of a folder: every name begins with prefix, files have the mode 0750 and a time.
func folder(t testing.TB, prefix string, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: prefix, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		h := tar.Header{Name: n, Typeflag: tar.TypeReg, Mode: 0o750, Size: int64(len(n)), ModTime: time.Unix(7, 0)}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// members unpacks the bundles of m among the blobs.
func members(t testing.TB, m oci.Manifest, blobs ...string) (all []bundle.Member) {
	t.Helper()
	for _, d := range files.Bundles(m) {
		i := slices.IndexFunc(blobs, func(b string) bool { return digest.FromString(b) == d.Digest })
		ms, err := bundle.Read(strings.NewReader(blobs[i]), &d, bundle.Limits{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ms...)
	}
	slices.Reverse(all)
	return all
}

// show draws a tree: path, size, mode, seconds and the kind of place.
func show(t testing.TB, tree *archive.Tree) (lines []string) {
	t.Helper()
	for e := range tree.All() {
		where := "member"
		switch l := e.Locator.(type) {
		case archive.Range:
			if where = "blob"; !l.Whole || l.Length != e.Size || e.HasSum && l.Blob.Digest.Encoded() != fmt.Sprintf("%x", e.Sum) {
				t.Errorf("%s: %+v", e.Path, l)
			}
		case archive.Member:
			if want := digest.FromString(e.Path).Encoded(); fmt.Sprintf("%x", e.Sum) != want || l.Offset < 512 {
				t.Errorf("%s: %+v", e.Path, l)
			}
		}
		lines = append(lines, fmt.Sprintf("%s %d %o %d %s", e.Path, e.Size, e.Mode, e.Time().Unix(), where))
	}
	return lines
}

func TestTree(t *testing.T) {
	site, other, root := folder(t, "site", "site/a", "site/css/b"), folder(t, "dir/other", "dir/other/x"), folder(t, ".", "r", "s/t")
	none := folder(t, "none")
	for _, c := range []struct {
		name    string
		layers  []string
		bundles int
		want    []string
	}{
		{"files", []string{layer("b.txt", "bb", false), layer("dir/a.txt", "a", false)}, 0, []string{"b.txt 2 644 0 blob", "dir/a.txt 1 644 0 blob"}},
		{"empty", []string{layer("empty", "", false)}, 0, []string{"empty 0 644 0 blob"}},
		{"layers that are no files", []string{untitled("x"), layer("a", "a", false), layer("", "y", false)}, 0, []string{"a 1 644 0 blob"}},
		{"one content, two names", []string{layer("a", "x", false), layer("b", "x", false)}, 0, []string{"a 1 644 0 blob", "b 1 644 0 blob"}},
		{"one layer twice", []string{layer("a", "x", false), layer("a", "x", false)}, 0, []string{"a 1 644 0 blob"}},
		{"folders", []string{layer("site", site, true), layer("dir/other", other, true), layer("z", "z", false)}, 2,
			[]string{"dir/other/x 11 750 7 member", "site/a 6 750 7 member", "site/css/b 10 750 7 member", "z 1 644 0 blob"}},
		{"one folder twice", []string{layer("site", site, true), layer("site", site, true)}, 1, []string{"site/a 6 750 7 member", "site/css/b 10 750 7 member"}},
		{"the folder that oras was in", []string{layer(".", root, true), layer("s/u", "u", false)}, 1, []string{"r 1 750 7 member", "s/t 3 750 7 member", "s/u 1 644 0 blob"}},
		{"an empty folder", []string{layer("none", none, true)}, 1, nil},
		{"a packed folder that is to stay so", []string{strings.Replace(layer("site", site, true), `"true"`, `"false"`, 1)}, 0, []string{fmt.Sprintf("site %d 644 0 blob", len(site))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := manifest(t, c.layers...)
			if !files.Matches(m) {
				t.Error("it does not match")
			}
			if n := len(files.Bundles(m)); n != c.bundles {
				t.Errorf("%d bundles", n)
			}
			tree, err := files.Tree(m, members(t, m, site, other, root, none))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(t, tree); !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestTreeRefuses(t *testing.T) {
	site := folder(t, "site", "site/a", "site/css/b")
	for _, c := range []struct {
		name   string
		layers []string
		says   []string
	}{
		{"leaves", []string{layer("../x", "x", false)}, []string{`"../x"`}},
		{"leaves midway", []string{layer("a/../../x", "x", false)}, []string{`"a/../../x"`}},
		{"parent", []string{layer("..", "x", false)}, []string{`".."`}},
		{"root", []string{layer(".", "x", false)}, []string{`"."`}},
		{"absolute", []string{layer("/etc/passwd", "x", false)}, []string{`"/etc/passwd"`}},
		{"with dots", []string{layer("./x", "x", false)}, []string{`"./x"`}},
		{"a folder's slash", []string{layer("x/", "x", false)}, []string{`"x/"`}},
		{"backslash", []string{layer(`a\b`, "x", false)}, []string{"backslash"}},
		{"backslash leaves", []string{layer(`..\b`, "x", false)}, []string{"backslash"}},
		{"drive", []string{layer(`C:/x`, "x", false)}, []string{`"C:/x"`, "drive"}},
		{"drive's folder", []string{layer(`c:x`, "x", false)}, []string{"drive"}},
		{"long", []string{layer(strings.Repeat("a", 5000), "x", false)}, []string{"5000 bytes"}},
		{"a folder leaves", []string{layer("../site", site, true)}, []string{`"../site"`}},
		{"outside its folder", []string{layer("sit", site, true)}, []string{`"site/`, `"sit"`, "outside"}},
		{"a name twice", []string{layer("a", "x", false), layer("a", "y", false)}, []string{`"a"`, "twice"}},
		{"file and folder", []string{layer("a", "x", false), layer("a/b", "y", false)}, []string{`"a"`, `"a/b"`}},
		{"a file in a folder", []string{layer("site", site, true), layer("site/a", "y", false)}, []string{`"site/a"`, "twice"}},
		{"one good, one bad", []string{layer("a", "x", false), layer("../b", "y", false)}, []string{`"../b"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := manifest(t, c.layers...)
			tree, err := files.Tree(m, members(t, m, site))
			if !errors.Is(err, fault.IndexInvalid) || tree != nil {
				t.Fatalf("got %v, %v", tree, err)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%v: does not say %s", err, s)
				}
			}
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		name string
		m    oci.Manifest
		want bool
	}{
		{"a title among others", manifest(t, untitled("x"), layer("a", "a", false)), true},
		{"no titles", manifest(t, untitled("x")), false},
		{"an empty title", manifest(t, layer("", "x", false)), false},
		{"no layers", manifest(t), false},
		{"an index", oci.Manifest{MediaType: oci.MediaTypeImageIndex, Layers: manifest(t, layer("a", "a", false)).Layers}, false},
	} {
		if got := files.Matches(c.m); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if b := files.Bundles(manifest(t, layer("", "x", true))); b != nil {
		t.Errorf("a folder without a name: %v", b)
	}
}

// TestOtherDigest has a file whose blob has another digest than a sha256: it has no sum.
func TestOtherDigest(t *testing.T) {
	d := digest.SHA512.FromString("x")
	m := manifest(t, strings.Replace(layer("x", "x", false), digest.FromString("x").String(), d.String(), 1))
	tree, err := files.Tree(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e := tree.At(0); e.HasSum || e.Locator.(archive.Range).Blob.Digest != d {
		t.Errorf("%+v", e)
	}
}
