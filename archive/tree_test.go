package archive_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unsafe"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func tree(t testing.TB, paths ...string) *archive.Tree {
	t.Helper()
	entries := make([]archive.Entry, len(paths))
	for i, p := range paths {
		entries[i] = archive.Entry{Path: p, Size: int64(i)}
	}
	tr, err := archive.NewTree(archive.Entries(entries))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// tricky has names that sort differently as whole paths and name by name.
var tricky = []string{
	"foo/a.txt", "foo/b/c/d", "foo.txt", "foo-bar.txt", "foo-bar/x", "foo0", "a", "b/c", "b.c", "b/c-d/e", "b/c.d", "b/cc",
	"ünï/cödé", "z\x00z/a", "z/a", " /space",
}

func list(nodes []archive.Node) string {
	var out []string
	for _, n := range nodes {
		name := n.Path
		if n.Dir {
			name += "/"
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestTreeAgainstWalkDir(t *testing.T) {
	for _, paths := range [][]string{nil, {"a"}, {"a/b/c/d/e"}, tricky, randomPaths(300)} {
		tr := tree(t, paths...)
		oracle := fstest.MapFS{}
		for _, p := range paths {
			oracle[p] = &fstest.MapFile{}
		}
		fs.WalkDir(oracle, ".", func(dir string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			if !d.IsDir() {
				e, err := tr.Lookup(dir)
				if err != nil || e.Path != dir {
					t.Errorf("Lookup(%q) = %v, %v", dir, e, err)
				}
				if _, err := tr.ReadDir(dir); !errors.Is(err, fault.NotDirectory) {
					t.Errorf("ReadDir(%q): %v", dir, err)
				}
				return nil
			}
			if _, err := tr.Lookup(dir); !errors.Is(err, fault.IsDirectory) {
				t.Errorf("Lookup(%q): %v", dir, err)
			}
			if n, err := tr.Stat(dir); err != nil || !n.Dir || n.Path != dir || n.Entry != nil {
				t.Errorf("Stat(%q) = %v, %v", dir, n, err)
			}
			nodes, err := tr.ReadDir(dir)
			if err != nil {
				t.Errorf("ReadDir(%q): %v", dir, err)
			}
			if got, want := list(slices.Collect(nodes)), list(walk(t, oracle, dir, false)); got != want {
				t.Errorf("ReadDir(%q)\n got %s\nwant %s", dir, got, want)
			}
			if got, want := list(slices.Collect(tr.Walk(dir))), list(walk(t, oracle, dir, true)); got != want {
				t.Errorf("Walk(%q)\n got %s\nwant %s", dir, got, want)
			}
			return nil
		})
	}
}

// walk lists what fs.WalkDir sees below dir.
func walk(t *testing.T, fsys fs.FS, dir string, deep bool) (nodes []archive.Node) {
	err := fs.WalkDir(fsys, dir, func(path string, d fs.DirEntry, err error) error {
		if path == dir {
			return err
		}
		nodes = append(nodes, archive.Node{Path: path, Dir: d.IsDir()})
		if d.IsDir() && !deep {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

// randomPaths are n files whose names are of few, badly sorting letters, so that many share folders.
func randomPaths(n int) []string {
	rnd := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	var paths []string
	for len(paths) < n {
		var elems []string
		for range 1 + rnd.IntN(4) {
			name := make([]byte, 1+rnd.IntN(3))
			for i := range name {
				name[i] = "a-0!~"[rnd.IntN(5)]
			}
			elems = append(elems, string(name))
		}
		// A file's name gets a letter that no folder has, so that no file is a folder.
		path := strings.Join(elems, "/") + "f"
		if !seen[path] {
			seen[path] = true
			paths = append(paths, path)
		}
	}
	return paths
}

func TestWalkStops(t *testing.T) {
	tr := tree(t, tricky...)
	for limit := 1; limit < 10; limit++ {
		n := 0
		for range tr.Walk(".") {
			if n++; n == limit {
				break
			}
		}
		if n != limit {
			t.Errorf("visited %d nodes, not %d", n, limit)
		}
	}
	for range tr.All() {
		break
	}
	for _, path := range []string{"foo.txt", "nowhere", "", "/", "foo/", "../x"} {
		for n := range tr.Walk(path) {
			t.Errorf("Walk(%q) visits %q", path, n.Path)
		}
	}
}

func TestErrorsNameThePath(t *testing.T) {
	tr := tree(t, tricky...)
	for _, c := range []struct {
		path               string
		lookup, stat, list error
	}{
		{"foo.txt", nil, nil, fault.NotDirectory},
		{"foo", fault.IsDirectory, nil, nil},
		{".", fault.IsDirectory, nil, nil},
		{"fo", fault.FileUnknown, fault.FileUnknown, fault.FileUnknown},
		{"foo-", fault.FileUnknown, fault.FileUnknown, fault.FileUnknown},
		{"foo/a", fault.FileUnknown, fault.FileUnknown, fault.FileUnknown},
		{"foo.txt/a", fault.FileUnknown, fault.FileUnknown, fault.FileUnknown},
		{"zzz", fault.FileUnknown, fault.FileUnknown, fault.FileUnknown},
		{"/foo.txt", fault.InvalidPath, fault.InvalidPath, fault.InvalidPath},
		{"foo/", fault.InvalidPath, fault.InvalidPath, fault.InvalidPath},
		{"./foo", fault.InvalidPath, fault.InvalidPath, fault.InvalidPath},
		{"foo/../a", fault.InvalidPath, fault.InvalidPath, fault.InvalidPath},
		{"foo//a", fault.InvalidPath, fault.InvalidPath, fault.InvalidPath},
		{"", fault.InvalidPath, fault.InvalidPath, fault.InvalidPath},
		{"a\xff", fault.InvalidPath, fault.InvalidPath, fault.InvalidPath},
	} {
		_, lookup := tr.Lookup(c.path)
		_, stat := tr.Stat(c.path)
		_, readDir := tr.ReadDir(c.path)
		for _, got := range []struct {
			call      string
			err, want error
		}{{"Lookup", lookup, c.lookup}, {"Stat", stat, c.stat}, {"ReadDir", readDir, c.list}} {
			if !errors.Is(got.err, got.want) {
				t.Errorf("%s(%q): %v, want %v", got.call, c.path, got.err, got.want)
			}
			if got.err != nil && !strings.Contains(got.err.Error(), fmt.Sprintf("%q", c.path)) {
				t.Errorf("%s(%q): %v does not name the path", got.call, c.path, got.err)
			}
		}
	}
}

func TestNewTreeRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []archive.Entry
	}{
		{"empty path", []archive.Entry{{Path: ""}}},
		{"root", []archive.Entry{{Path: "."}}},
		{"absolute", []archive.Entry{{Path: "/etc/passwd"}}},
		{"leaves the archive", []archive.Entry{{Path: "a/../../b"}}},
		{"trailing slash", []archive.Entry{{Path: "a/"}}},
		{"empty element", []archive.Entry{{Path: "a//b"}}},
		{"not UTF-8", []archive.Entry{{Path: "a\xc3\x28"}}},
		{"too long", []archive.Entry{{Path: strings.Repeat("a/", archive.MaxPath/2) + "a"}}},
		{"twice", []archive.Entry{{Path: "b"}, {Path: "a"}, {Path: "b"}}},
		{"file and folder", []archive.Entry{{Path: "a/b"}, {Path: "a-b"}, {Path: "a"}}},
		{"file and folder further down", []archive.Entry{{Path: "x/a/b/c"}, {Path: "x/a.b"}, {Path: "x/a"}}},
		{"negative size", []archive.Entry{{Path: "a", Size: -1}}},
		{"sizes overflow", []archive.Entry{{Path: "a", Size: math.MaxInt64}, {Path: "b", Size: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if tr, err := archive.NewTree(archive.Entries(c.entries)); !errors.Is(err, fault.IndexInvalid) {
				t.Errorf("got %v, %v", tr, err)
			}
		})
	}
	longest := strings.Repeat("a/", archive.MaxPath/2-1) + "ab"
	if tr := tree(t, longest); len(longest) != archive.MaxPath || tr.Len() != 1 {
		t.Error("the longest path is refused")
	}
}

func TestNodeName(t *testing.T) {
	for path, want := range map[string]string{".": ".", "a": "a", "a/b": "b", "a/b/c.d": "c.d"} {
		if got := (archive.Node{Path: path}).Name(); got != want {
			t.Errorf("Name of %q is %q", path, got)
		}
	}
}

func TestTotals(t *testing.T) {
	tr := tree(t, "c", "b", "a")
	if tr.Len() != 3 || tr.Size() != 0+1+2 {
		t.Errorf("%d files of %d bytes", tr.Len(), tr.Size())
	}
	var all []string
	for e := range tr.All() {
		all = append(all, e.Path)
	}
	if !slices.Equal(all, []string{"a", "b", "c"}) {
		t.Errorf("All: %v", all)
	}
}

// big is the entries of n files in folders of a hundred.
func big(n int) []archive.Entry {
	blob := &oci.Descriptor{}
	entries := make([]archive.Entry, n)
	for i := range entries {
		entries[i] = archive.Entry{
			Path: fmt.Sprintf("p%03d/m%02d/%06d.go", i/10_000, i/100%100, i), Size: 1,
			Locator: archive.Range{Blob: blob, Offset: int64(i), Length: 1},
		}
	}
	return entries
}

// TestMemory holds MemoryBytes to the truth.
func TestMemory(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	tr, err := archive.NewTree(archive.Entries(big(200_000)))
	if err != nil {
		t.Fatal(err)
	}
	used := heap() - before
	if said := tr.MemoryBytes(); said < used*8/10 || said > used*12/10 {
		t.Errorf("MemoryBytes says %d, the heap grew by %d", said, used)
	}
}

// TestEntriesStandAlone has what a tree returned outlive the tree's memory.
func TestEntriesStandAlone(t *testing.T) {
	path := []byte("folder/file")
	tr, err := archive.NewTree(archive.Entries{{Path: unsafe.String(&path[0], len(path))}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := tr.Lookup("folder/file")
	if err != nil {
		t.Fatal(err)
	}
	nodes := slices.Collect(tr.Walk("."))
	children, err := tr.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	nodes = slices.AppendSeq(nodes, children)
	clear(path)
	if got := list(nodes); e.Path != "folder/file" || got != "folder/ folder/file folder/" {
		t.Errorf("%q and %q share the table's memory", e.Path, got)
	}
}

func BenchmarkLookup(b *testing.B) {
	tr, err := archive.NewTree(archive.Entries(big(200_000)))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := tr.Lookup("p010/m17/101733.go"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadDirRoot shows that listing the root doesn't look at what is below: 20 folders of 10,000 files each.
func BenchmarkReadDirRoot(b *testing.B) {
	tr, err := archive.NewTree(archive.Entries(big(200_000)))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if nodes, err := tr.ReadDir("."); err != nil || len(slices.Collect(nodes)) != 20 {
			b.Fatal(err)
		}
	}
}
