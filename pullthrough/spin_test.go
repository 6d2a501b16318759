package pullthrough_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/spintest"
	"github.com/blobd/blobd/pullthrough"
)

// publish stores an artifact under a tag.
func (u *upstream) publish(tag string, a *spintest.Artifact) {
	u.set(func(u *upstream) {
		u.tags[tag], u.manifests[a.Digest()] = a.Digest(), a.Manifest
		for d, data := range a.Blobs {
			u.blobs[d] = data
		}
	})
}

// clear empties caches, which the test then expects to be filled again.
func (b *bench) clear(names ...string) {
	b.t.Helper()
	for {
		report, err := b.Clear(b.t.Context(), names)
		if err != nil {
			b.t.Fatal(err)
		}
		if !slices.ContainsFunc(report.Kept, func(k pullthrough.Kept) bool { return k.Reason == store.KeptInUse }) {
			return
		}
		runtime.Gosched() // a blob that has come is checked once more behind
	}
}

// rest waits until no flight is under way: what was asked for has then come to its end.
func (b *bench) rest() {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	for b.ledger.counts["flights"] > 0 {
		b.ledger.changed.Wait()
	}
}

// bundled is an application of two components in archive mode. One asset is in both, as a member of either's bundle; one
// is in the first twice.
func bundled() ([]spintest.Component, map[string][]byte) {
	shared, twice := random(1, 5000), random(2, 700_000)
	a := spintest.Component{ID: "a", Wasm: random(3, 1000)}
	b := spintest.Component{ID: "b", Wasm: random(4, 300_000), Files: []spintest.File{{Path: "shared", Data: shared}}}
	a.Files = []spintest.File{{Path: "0", Data: twice}, {Path: "again/0", Data: twice}, {Path: "shared", Data: shared}}
	for i, size := range []int64{0, 1, 128, 129, 70 << 10, 256 << 10, 256<<10 + 1, 1 << 20} {
		a.Files = append(a.Files, spintest.File{Path: fmt.Sprintf("d/%d", size), Data: random(uint64(10+i), size)})
		b.Files = append(b.Files, spintest.File{Path: fmt.Sprintf("e%d", i), Data: repetitive(uint64(30+i), size+1)})
	}
	return []spintest.Component{a, b}, treeOf(a, b)
}

// treeOf is the files that an application of components has, but for locked.json.
func treeOf(components ...spintest.Component) map[string][]byte {
	tree := map[string][]byte{}
	for _, c := range components {
		tree[c.ID+".wasm"] = c.Wasm
		for _, f := range c.Files {
			tree[c.ID+"/"+f.Path] = f.Data
		}
		for name, wasm := range c.Deps {
			tree[c.ID+".deps/"+name+".wasm"] = wasm
		}
	}
	return tree
}

func (b *bench) readsAll(a *pullthrough.Archive, tree map[string][]byte, o pullthrough.Options) {
	b.t.Helper()
	for path, data := range tree {
		b.mustRead(a, path, data, o)
		if n := int64(len(data)); n > 2 {
			part, _, err := b.read(b.t.Context(), a, path, n/2, n/3, o)
			if err != nil || !bytes.Equal(part, data[n/2:n/2+n/3]) {
				b.t.Errorf("%s from %d: %d bytes, %v", path, n/2, len(part), err)
			}
		}
	}
}

// A bundle comes once, whoever reads what of it, and all its files are kept when one was read: the cache then answers
// without registry, from the content cache alone, and from the bundle alone.
func TestBundleOnce(t *testing.T) {
	b := start(t)
	components, tree := bundled()
	app := spintest.Application(spintest.Options{Bundled: true}, components...)
	b.up.publish("v1", app)
	open := b.up.shut()
	var readers sync.WaitGroup
	for _, path := range []string{"a/d/1048576", "a/shared", "a/again/0", "b/e7"} {
		readers.Go(func() {
			a, err := b.Pull(t.Context(), "uid:1", repo+":v1", pullthrough.Options{})
			if err == nil {
				var got []byte
				got, _, err = b.read(t.Context(), a, path, 0, -1, pullthrough.Options{})
				if !bytes.Equal(got, tree[path]) {
					t.Errorf("%s: %d bytes, want %d", path, len(got), len(tree[path]))
				}
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
	b.up.held.await("held", 1)
	open()
	readers.Wait()
	b.wants("four cold readers of two bundles", map[string]int{"tag": 1, "manifest": 1, "blob": 1, "range": 2})
	for _, d := range app.Bundles {
		if got, size := b.up.bytes[d], len(app.Blobs[d]); got != int64(size) {
			t.Errorf("%d bytes of bundle %s came, which has %d", got, d, size)
		}
	}
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.mustRead(a, "a.wasm", tree["a.wasm"], pullthrough.Options{})
	b.mustRead(a, "b.wasm", tree["b.wasm"], pullthrough.Options{})
	a.Release()

	b.up.set(func(u *upstream) { u.fail = down })
	for _, lost := range []string{"block", "content"} {
		b.restart()
		if lost == "content" { // the bundles are needed for that: they come once more
			b.up.set(func(u *upstream) { u.fail = nil })
			a := b.pull(repo+":v1", pullthrough.Options{})
			b.mustRead(a, "a.wasm", tree["a.wasm"], pullthrough.Options{NoCache: true})
			b.mustRead(a, "a/0", tree["a/0"], pullthrough.Options{NoCache: true})
			b.mustRead(a, "b/e3", tree["b/e3"], pullthrough.Options{NoCache: true})
			a.Release()
			b.up.counts()
			b.up.set(func(u *upstream) { u.fail = down })
		}
		b.clear(lost)
		a := b.pull(repo+":v1", pullthrough.Options{})
		for path, data := range tree {
			if lost == "block" || !strings.HasSuffix(path, ".wasm") { // which is a blob, and was content
				b.mustRead(a, path, data, pullthrough.Options{})
			}
		}
		a.Release()
	}
	b.wants("what is cached", map[string]int{})
}

// A bundle is decoded once: what a pull reads of it, to say what is in it, is kept.
func TestBundleDecodedOnce(t *testing.T) {
	b := start(t)
	components, tree := bundled()
	b.up.publish("v1", spintest.Application(spintest.Options{Bundled: true}, components...))
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.rest()
	b.clear("block")
	b.up.counts()
	for path, data := range tree {
		if !strings.HasSuffix(path, ".wasm") {
			b.mustRead(a, path, data, pullthrough.Options{})
		}
	}
	b.wants("members of bundles that are gone", map[string]int{})
}

// What a member's header says of its size makes no room at others' expense: it costs nothing to say.
func TestBundleClaims(t *testing.T) {
	b := start(t, func(b *bench) { b.opts.MaxSize = 32 << 20 })
	var files []archivetest.File
	for i := range 12 {
		files = append(files, archivetest.File{Path: fmt.Sprint("f", i), Data: random(uint64(i), 1<<20)})
	}
	b.up.push("v1", files, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	for _, f := range files {
		b.mustRead(a, f.Path, f.Data, pullthrough.Options{})
	}
	entries := func() (n int64) {
		for _, class := range b.caches.Store.Usage().Classes {
			if class.Name == "content" {
				n = class.Entries
			}
		}
		return n
	}
	before := entries()
	components, _ := bundled()
	b.up.publish("v2", spintest.Application(spintest.Options{Bundled: true, Pack: func(...spintest.File) []byte {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if err := tar.NewWriter(z).WriteHeader(&tar.Header{Name: "huge", Mode: 0o644, Size: 28 << 20}); err != nil {
			t.Fatal(err)
		}
		z.Close()
		return packed.Bytes()
	}}, components...))
	if _, err := b.Pull(t.Context(), "uid:1", repo+":v2", pullthrough.Options{}); !errors.Is(err, fault.IndexInvalid) {
		t.Fatalf("err = %v", err)
	}
	b.rest()
	if after := entries(); before != 12 || after < before {
		t.Errorf("%d of %d files are left", after, before)
	}
}

// A blob of an artifact comes as the registry holds it, from the blocks that are there.
func TestReadBlob(t *testing.T) {
	b := start(t)
	components, _ := bundled()
	app := spintest.Application(spintest.Options{Bundled: true}, components...)
	b.up.publish("v1", app)
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.up.counts()
	for d, data := range app.Blobs {
		st, err := b.OpenBlob(t.Context(), a, d, 0, -1, pullthrough.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(st); err != nil || !bytes.Equal(got, data) {
			t.Errorf("blob %s: %d bytes of %d, %v", d, len(got), len(data), err)
		}
		st.Close()
	}
	if n := b.up.counts()["range"]; n > len(app.Blobs)-len(app.Bundles) {
		t.Errorf("%d ranges for %d blobs, of which %d were there", n, len(app.Blobs), len(app.Bundles))
	}
	if _, err := b.OpenBlob(t.Context(), a, digest.FromString("another"), 0, -1, pullthrough.Options{}); !errors.Is(err, fault.BlobUnknown) {
		t.Errorf("one that is not the artifact's: %v", err)
	}
}

// Without a content cache, or with one that is full, members are read right out of their bundle.
func TestBundleUnkept(t *testing.T) {
	components, tree := bundled()
	for name, change := range map[string]func(*bench){
		"no content":            func(b *bench) { b.opts.Caches = map[string]cache.Config{"content": {Off: true}} },
		"no content, no memory": func(b *bench) { b.opts.Caches, b.opts.MemorySize = map[string]cache.Config{"content": {Off: true}}, 0 },
		"no content, no blocks": func(b *bench) { b.opts.Caches = map[string]cache.Config{"content": {Off: true}, "block": {Off: true}} },
		"nothing on disk": func(b *bench) {
			b.opts.Caches = map[string]cache.Config{"content": {Off: true}, "block": {Off: true}, "index": {Off: true}}
		},
		"per scope": func(b *bench) { b.policy.TrustPerScope = true },
		"per scope, not content": func(b *bench) {
			b.policy.TrustPerScope, b.opts.Caches = true, map[string]cache.Config{"content": {Off: true}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, change)
			b.up.publish("v1", spintest.Application(spintest.Options{Bundled: true}, components...))
			for _, principal := range []string{"uid:1", "uid:2"} {
				a, err := b.Pull(t.Context(), principal, repo+":v1", pullthrough.Options{})
				if err != nil {
					t.Fatal(err)
				}
				b.readsAll(a, tree, pullthrough.Options{})
				b.readsAll(a, tree, pullthrough.Options{NoCache: true})
			}
		})
	}
}

// With NoCache a bundle comes anew, for a folder once.
func TestBundleAnew(t *testing.T) {
	b := start(t)
	components, tree := bundled()
	b.up.publish("v1", spintest.Application(spintest.Options{Bundled: true}, components...))
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.readsAll(a, tree, pullthrough.Options{})
	b.rest()
	b.up.counts()
	anew := pullthrough.Options{NoCache: true}
	a = b.pull(repo+":v1", anew)
	b.wants("a pull", map[string]int{"tag": 1, "manifest": 1, "blob": 1})
	b.mustRead(a, "a/d/129", tree["a/d/129"], anew)
	b.wants("a member", map[string]int{"range": 1})
	b.rest()
	if err := b.Prefetch(t.Context(), a, []string{"a"}, anew, nil); err != nil {
		t.Fatal(err)
	}
	b.wants("a folder", map[string]int{"range": 1})
}

// What a bundle is not is never handed out, and leaves nothing behind.
func TestBundleLies(t *testing.T) {
	components, tree := bundled()
	app := spintest.Application(spintest.Options{Bundled: true}, components...)
	spoil := func(d digest.Digest, data []byte) {
		if d == app.Bundles[0] {
			data[len(data)/2] ^= 1
		}
	}
	b := start(t)
	b.up.publish("v1", app)
	b.up.set(func(u *upstream) { u.spoil = spoil })
	_, err := b.Pull(t.Context(), "uid:1", repo+":v1", pullthrough.Options{})
	if !errors.Is(err, fault.DigestMismatch) || !strings.Contains(fmt.Sprint(err), app.Bundles[0].String()) {
		t.Fatalf("err = %v", err)
	}
	b.wants("a lie", map[string]int{"tag": 1, "manifest": 1, "blob": 1, "range": 2})
	for _, class := range b.caches.Store.Usage().Classes {
		if (class.Name == "indexes" || class.Name == "content") && class.Entries > 0 {
			t.Errorf("%d entries of %s are kept", class.Entries, class.Name)
		}
	}
	b.up.set(func(u *upstream) { u.spoil = nil })
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.rest()
	b.clear("block", "content")
	b.up.set(func(u *upstream) { u.spoil = spoil })
	if got, _, err := b.read(t.Context(), a, "a/d/1048576", 0, -1, pullthrough.Options{}); !errors.Is(err, fault.DigestMismatch) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	b.mustRead(a, "b/e4", tree["b/e4"], pullthrough.Options{})
	b.up.set(func(u *upstream) { u.spoil = nil })
	b.readsAll(a, tree, pullthrough.Options{})
}

// Readers that leave do not end what others follow; when all have left it goes on for a while, and then ends.
func TestUnpackDeserted(t *testing.T) {
	components, tree := bundled()
	app := spintest.Application(spintest.Options{Bundled: true}, components...)
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.up.publish("v1", app)
		a := b.pull(repo+":v1", pullthrough.Options{})
		synctest.Wait() // until nobody uses the bundles
		b.clear("block", "content")
		b.up.counts()
		open := b.up.shut()
		ctx, leave := context.WithCancel(t.Context())
		for i := range 3 {
			go func() {
				if _, _, err := b.read(ctx, a, fmt.Sprintf("a/d/%d", 128<<i), 0, -1, pullthrough.Options{}); err == nil {
					t.Error("it was read through a gate that is shut")
				}
			}()
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		if b.ledger.get("flights") == 0 {
			t.Error("it ends at once")
		}
		stays := make(chan error)
		go func() {
			got, _, err := b.read(t.Context(), a, "a/d/129", 0, -1, pullthrough.Options{})
			if err == nil && !bytes.Equal(got, tree["a/d/129"]) {
				err = errors.New("other bytes")
			}
			stays <- err
		}()
		synctest.Wait()
		time.Sleep(time.Minute)
		open()
		if err := <-stays; err != nil {
			t.Error(err)
		}
		b.wants("three who left and one who stayed", map[string]int{"range": 1})
		synctest.Wait()

		b.clear("content", "block")
		b.caches.Memory.Clear()
		defer b.up.shut()()
		ctx, leave = context.WithCancel(t.Context())
		go func() { _, _, _ = b.read(ctx, a, "a/d/128", 0, -1, pullthrough.Options{}) }()
		synctest.Wait()
		leave()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := b.ledger.get("flights"); n != 0 {
			t.Errorf("%d flights go on for nobody", n)
		}
	})
}

// Files that are blobs come once and are stored once, whoever has them, also while they are pinned; those with a digest of
// another kind are kept as well.
func TestBlobsThatAreFiles(t *testing.T) {
	large, small, other, otherLarge := random(1, 1<<20), random(2, 70<<10), random(3, 10_000), random(4, 400_000)
	b := start(t)
	b.up.publish("plain", spintest.Plain(
		spintest.Layer{Title: "large", Data: large}, spintest.Layer{Title: "d/small", Data: small},
		spintest.Layer{Title: "other", Data: other, SHA512: true}, spintest.Layer{Title: "other.large", Data: otherLarge, SHA512: true}))
	b.up.publish("app", spintest.Application(spintest.Options{},
		spintest.Component{ID: "c", Wasm: large, Files: []spintest.File{{Path: "x", Data: small}, {Path: "tiny", Data: []byte("1")}}}))
	_, _, _, err := b.Pin(t.Context(), "uid:1", repo+":plain", pullthrough.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := b.pull(repo+":plain", pullthrough.Options{})
	b.up.counts()
	part, _, err := b.read(t.Context(), a, "large", 100_000, 50, pullthrough.Options{}) // which leaves blocks
	if err != nil || !bytes.Equal(part, large[100_000:100_050]) {
		t.Fatal(err)
	}
	tree := map[string][]byte{"large": large, "d/small": small, "other": other, "other.large": otherLarge}
	var last pullthrough.Progress
	if err := b.Prefetch(t.Context(), a, nil, pullthrough.Options{}, func(p pullthrough.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if last.FilesUnkept != 0 {
		t.Errorf("%d files are said not to be kept", last.FilesUnkept)
	}
	app := b.pull(repo+":app", pullthrough.Options{})
	b.up.counts()
	b.readsAll(app, map[string][]byte{"c.wasm": large, "c/x": small, "c/tiny": []byte("1")}, pullthrough.Options{})
	err = b.Prefetch(t.Context(), app, nil, pullthrough.Options{}, func(p pullthrough.Progress) { last = p })
	if err != nil || last.FilesUnkept != 0 { // what stands in the index needs no room
		t.Errorf("%d files are said not to be kept; %v", last.FilesUnkept, err)
	}
	b.wants("files of another artifact", map[string]int{})
	a.Release()
	app.Release()
	b.restart()
	b.up.set(func(u *upstream) { u.fail = down })
	b.readsAll(b.pull(repo+":plain", pullthrough.Options{}), tree, pullthrough.Options{})
	b.wants("what is cached", map[string]int{})
	for _, class := range b.caches.Store.Usage().Classes {
		if class.Name == "blocks" && class.Entries != 2 {
			t.Errorf("blocks of %d blobs are kept, want those of the two that can't be content", class.Entries)
		}
	}
}

// An artifact may hold only so many members, over all its bundles.
func TestTooManyMembers(t *testing.T) {
	b := start(t)
	var layers []spintest.Layer
	for i := range 3 {
		var members []spintest.File
		for n := range 20_000 {
			members = append(members, spintest.File{Path: fmt.Sprintf("d%d/%090d", i, n), Data: []byte{byte(i)}})
		}
		layers = append(layers, spintest.Layer{Title: fmt.Sprint("d", i), Folder: members})
	}
	b.up.publish("two", spintest.Plain(layers[:1]...))
	b.up.publish("three", spintest.Plain(layers...))
	if a := b.pull(repo+":two", pullthrough.Options{}); a.Tree.Len() != 20_000 {
		t.Errorf("%d files", a.Tree.Len())
	}
	if _, err := b.Pull(t.Context(), "uid:1", repo+":three", pullthrough.Options{}); !errors.Is(err, fault.IndexInvalid) {
		t.Errorf("err = %v", err)
	}
}
