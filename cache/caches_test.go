package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/vfs"
)

// listener counts what the caches tell.
type listener struct {
	mu       sync.Mutex
	corrupt  map[string]int
	evicted  map[string]int // by class and reason
	problems []error
}

func (l *listener) Evicted(class, reason string, _ int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.evicted == nil {
		l.evicted = make(map[string]int)
	}
	l.evicted[class+" "+reason]++
}

func (l *listener) Corrupted(class string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.corrupt == nil {
		l.corrupt = make(map[string]int)
	}
	l.corrupt[class]++
}

func (l *listener) Problem(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, err)
}

func (l *listener) corruptions(class string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.corrupt[class]
}

// open opens caches for as long as the test lasts, or until they are closed.
func open(t testing.TB, opts Options) *Caches {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if opts.FS == nil {
		opts.FS = storetest.WithoutSync()
	}
	c, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// putFile puts a file into the content cache.
func putFile(t testing.TB, c *Caches, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	if err := writeFileTo(t, c, d, data); err != nil {
		t.Fatal(err)
	}
	return d
}

func writeFileTo(t testing.TB, c *Caches, d digest.Digest, data []byte) error {
	t.Helper()
	w, err := c.Content.Create(t.Context(), d, int64(len(data)))
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit()
}

// readFile reads a file of the content cache.
func readFile(c *Caches, d digest.Digest) ([]byte, error) {
	o, err := c.Content.Open(d)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
}

// putBlocks makes a blob of n blocks, of which those in there are filled.
func putBlocks(t testing.TB, c *Caches, data []byte, blocks ...int) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	p, err := c.Blocks.Open(d, int64(len(data)), true)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	res, err := p.Reserve(t.Context(), len(blocks))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Release()
	for _, b := range blocks {
		if err := p.WriteBlock(res, b, data[b*store.BlockSize:min(len(data), (b+1)*store.BlockSize)]); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// pattern returns n bytes that differ from those of another seed.
func pattern(n int, seed int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%07d\n", seed)), n/8+1)[:n]
}

// fileOf returns the path of the one entry in a folder of caches in dir; class folders hold nothing else that is regular.
func fileOf(t testing.TB, dir, folder string, key store.Key) string {
	t.Helper()
	var path string
	err := filepath.WalkDir(filepath.Join(dir, folder), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == key.String() {
			path = p
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("no file for %s in %s: %v", key, folder, err)
	}
	return path
}

// rewriteFile changes a file of the store, which is read-only.
func rewriteFile(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err == nil {
		err = os.WriteFile(path, change(raw), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// damages are the ways to spoil a file.
func damages() map[string]func([]byte) []byte {
	flip := func(at func(n int) int) func([]byte) []byte {
		return func(raw []byte) []byte {
			raw = slices.Clone(raw)
			raw[at(len(raw))] ^= 4
			return raw
		}
	}
	return map[string]func([]byte) []byte{
		"first byte flipped":  flip(func(int) int { return 0 }),
		"middle byte flipped": flip(func(n int) int { return n / 2 }),
		"last byte flipped":   flip(func(n int) int { return n - 1 }),
		"cut":                 func(raw []byte) []byte { return raw[:len(raw)/2] },
		"cut by one":          func(raw []byte) []byte { return raw[:len(raw)-1] },
		"longer by one":       func(raw []byte) []byte { return append(slices.Clone(raw), 0) },
		"emptied":             func([]byte) []byte { return nil },
	}
}

// copyTree copies the folder of caches that are open, as a kill -9 would leave it to the next start.
func copyTree(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.MkdirAll(filepath.Join(to, path), 0o700)
		} else if err == nil {
			var raw []byte
			if raw, err = os.ReadFile(filepath.Join(dir, path)); err == nil {
				err = os.WriteFile(filepath.Join(to, path), raw, 0o600)
			}
		}
		if errors.Is(err, fs.ErrNotExist) { // it was evicted meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(Options{Dir: dir, Caches: map[string]Config{"refs": {}}}); !errors.Is(err, fault.InvalidArgument) {
		t.Errorf("a cache that is none: %v", err)
	}
	c := open(t, Options{Dir: dir})
	if err := c.Catalogue.Record(testArtifact(1)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "catalogue"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: dir})
	if _, ok := errors.AsType[*store.LockedError](err); !ok {
		t.Errorf("a folder that is open: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "catalogue")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the second to open it wrote the catalogue: %v", err)
	}
}

// lateWriter is a disk on which another process writes something before it gives its lock back.
type lateWriter struct {
	vfs.FS
	write func()
}

func (d lateWriter) Lock(name string) (vfs.File, error) {
	d.write()
	return d.FS.Lock(name)
}

// What the process before wrote at its very end is known, and not overwritten.
func TestOpenAfterAnother(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	disk := lateWriter{FS: storetest.WithoutSync(), write: func() {
		c := openCatalogue(t, storetest.WithoutSync(), opts.Dir, newClock().Now, defaultBounds())
		if err := errors.Join(c.Record(testArtifact(1)), c.close()); err != nil {
			t.Error(err)
		}
	}}
	opts.FS = disk
	c := open(t, opts)
	if err := errors.Join(c.Catalogue.Record(testArtifact(2)), c.Close()); err != nil {
		t.Fatal(err)
	}
	opts.FS = nil
	for when, c := range map[string]*Caches{"now": c, "after a restart": open(t, opts)} {
		for n := range 2 {
			a := testArtifact(n + 1)
			if _, ok := c.Catalogue.Get(a.Registry, a.Repository, a.Digest); !ok {
				t.Errorf("%s: artifact %d is not known", when, n+1)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for name, folder := range map[string]string{
		"ref": "refs", "manifest": "manifests", "index": "indexes", "content": "content", "block": "blocks", "memory": "", "x": "",
	} {
		if got := Folder(name); got != folder {
			t.Errorf("Folder(%q) is %q", name, got)
		}
		if folder != "" && Name(folder) != name {
			t.Errorf("Name(%q) is %q", folder, Name(folder))
		}
	}
}

// limits returns the limits in force, by class.
func limits(c *Caches) map[string]int64 {
	got := make(map[string]int64)
	for _, u := range c.Store.Usage().Classes {
		got[u.Name] = u.Limit
	}
	return got
}

func TestLimits(t *testing.T) {
	opts := Options{Dir: t.TempDir(), MemorySize: -1, Caches: map[string]Config{NameIndex: {Size: 20 << 20}}}
	c := open(t, opts)
	got := limits(c)
	for folder, want := range map[string]int64{FolderRefs: 10 << 20, FolderManifests: 50 << 20, FolderIndexes: 20 << 20} {
		if got[folder] != want {
			t.Errorf("%s may hold %d, want %d", folder, got[folder], want)
		}
	}
	if u := c.Store.Usage(); u.Limit != DefaultMaxSize {
		t.Errorf("all may hold %d", u.Limit)
	}
	opts.MaxSize, opts.MemorySize = 1<<30, 1<<20
	opts.Caches = map[string]Config{NameRef: {Size: 5 << 20}}
	c.SetLimits(opts)
	got = limits(c)
	for folder, want := range map[string]int64{FolderRefs: 5 << 20, FolderManifests: 50 << 20, FolderIndexes: 200 << 20} {
		if got[folder] > want || got[folder] < want/2 {
			t.Errorf("after SetLimits %s may hold %d, want %d or a little less", folder, got[folder], want)
		}
	}
	if u := c.Store.Usage(); u.Limit != 1<<30 {
		t.Errorf("after SetLimits all may hold %d", u.Limit)
	}
	if _, limit, _ := c.Memory.Stats(); limit != 1<<20 {
		t.Errorf("after SetLimits the memory tier may hold %d", limit)
	}
}

func TestCachesOff(t *testing.T) {
	off := make(map[string]Config)
	for _, k := range kinds() {
		off[k.name] = Config{Off: true}
	}
	c := open(t, Options{Caches: off})
	ctx := t.Context()
	manifest := []byte(`{"mediaType":"x"}`)
	d := digest.FromBytes(manifest)
	err := errors.Join(c.Refs.Put(ctx, testScope, "v1", Ref{Digest: d}), c.Manifests.Put(ctx, d, "y", manifest),
		c.Indexes.Put(ctx, d, manifest), c.Indexes.PutDerived(ctx, d, "x", 1, manifest))
	if err != nil {
		t.Errorf("nothing to keep is no error: %v", err)
	}
	if _, err := c.Content.Create(ctx, d, 10); !errors.Is(err, store.ErrOff) {
		t.Errorf("content: %v", err)
	}
	if _, err := c.Blocks.Open(d, 10, true); !errors.Is(err, store.ErrOff) {
		t.Errorf("blocks: %v", err)
	}
	if _, ok := c.Refs.Get(testScope, "v1"); ok {
		t.Error("a ref")
	}
	if _, _, ok := c.Manifests.Get(d); ok {
		t.Error("a manifest")
	}
	if _, ok := c.Indexes.Get(d); ok {
		t.Error("an index")
	}
}

func TestCachesMoved(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	c := open(t, Options{Dir: dir, Caches: map[string]Config{NameContent: {Dir: elsewhere}}})
	d := putFile(t, c, []byte("a file"))
	if files, err := filepath.Glob(filepath.Join(elsewhere, "*", store.KeyOf(d).String())); err != nil || len(files) != 1 {
		t.Errorf("in the other folder: %v, %v", files, err)
	}
	if _, err := os.Stat(filepath.Join(dir, FolderContent)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the usual folder: %v", err)
	}
}

func TestClear(t *testing.T) {
	c := open(t, Options{MemorySize: -1})
	ctx := t.Context()
	kept, gone := archive(t, c, "kept", "a"), archive(t, c, "gone", "b")
	if err := c.PinArtifact(kept.Artifact, slices.Values(kept.files), nil, true); err != nil {
		t.Fatal(err)
	}
	c.Memory.Set("hot", 1, 1)
	if _, err := c.Clear(ctx, []string{"everything"}); !errors.Is(err, fault.InvalidArgument) {
		t.Errorf("a cache that is none: %v", err)
	}
	if report, err := c.Clear(ctx, []string{NameMemory}); err != nil || report.FreedEntries != 0 {
		t.Errorf("memory alone: %+v, %v", report, err)
	}
	if _, ok := c.Memory.Get("hot"); ok {
		t.Error("memory was not cleared")
	}
	report, err := c.Clear(ctx, []string{NameContent})
	if err != nil || report.FreedEntries != 1 || len(report.Kept) != 1 || report.Kept[0].Reason != "pinned" {
		t.Errorf("content: %+v, %v", report, err)
	}
	if all := c.Catalogue.All(); len(all) != 2 {
		t.Errorf("after content: %+v", all)
	}
	if _, err := c.Clear(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if all := c.Catalogue.All(); len(all) != 1 || !all[0].Pinned {
		t.Errorf("after all: %+v", all)
	}
	if _, _, ok := c.Manifests.Get(gone.Digest); ok {
		t.Error("the manifest is still there")
	}
	kept.check(t, c)
}

// TestOpenOnADiskThatRefuses: what is there is served, nothing more is kept, and it is told.
func TestOpenOnADiskThatRefuses(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	c := open(t, opts)
	a := archive(t, c, "a", "1", "2")
	if err := c.PinArtifact(a.Artifact, slices.Values(a.files), nil, true); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	disk, told := &badDisk{FS: storetest.WithoutSync()}, &listener{}
	disk.failAt(0, true)
	opts.FS, opts.Observer = disk, told
	c, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // it fails too
	a.check(t, c)
	if got, ok := c.Catalogue.Get(a.Registry, a.Repository, a.Digest); !ok || !got.Pinned {
		t.Errorf("the catalogue has %+v, %v", got, ok)
	}
	b := testArtifact(1)
	if err := c.Catalogue.Record(b); !errors.Is(err, errDisk) {
		t.Errorf("Record: %v", err)
	}
	if _, ok := c.Catalogue.Get(b.Registry, b.Repository, b.Digest); !ok {
		t.Error("what was recorded does not stand in memory")
	}
	if err := c.Refs.Put(t.Context(), testScope, "v1", Ref{Missing: true}); !errors.Is(err, errDisk) {
		t.Errorf("Put: %v", err)
	}
	if !errors.Is(c.Problem(), errDisk) {
		t.Errorf("the problem is %v", c.Problem())
	}
	disk.failAt(-1, false)
	if err := errors.Join(
		c.Catalogue.Pin(b.Registry, b.Repository, b.Digest, true),
		c.Refs.Put(t.Context(), testScope, "v1", Ref{Missing: true}),
	); err != nil || c.Problem() != nil {
		t.Errorf("the disk is well again: %v, %v", err, c.Problem())
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	if n := len(told.problems); n < 2 || told.problems[n-1] != nil || !errors.Is(told.problems[0], errDisk) {
		t.Errorf("heard %v", told.problems)
	}
}
