package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/rig"
)

func contains(text, word string) bool { return strings.Contains(text, word) }

func diskUse(dir string) (int64, int, error) { return rig.DiskUse(dir) }

// tiledAgain reads a file's content once more, from its start.
func tiledAgain(f archivetest.File) io.Reader {
	return io.NewSectionReader(f.Content, 0, f.Content.Size())
}

// artifact is one line of cache ls -o json.
type artifact struct {
	Reference string
	Digest    string
	Tags      []string
	Files     int64
	Size      int64
	Cached    int64
	Pinned    bool
}

func (w *world) artifacts() (list []artifact) {
	w.t.Helper()
	for d := json.NewDecoder(bytes.NewReader(w.run("cache", "ls", "-o", "json"))); ; {
		var a artifact
		if err := d.Decode(&a); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, a)
	}
}

// TestRemove removes one of two artifacts that share a file: what the other names stays.
func TestRemove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	shared, own := file("shared", 1, 1<<20), file("own", 2, 1<<20)
	push(t, w.reg.PushHost(), "acme/one:v1", archivetest.Options{Zstd: true}, shared, own)
	push(t, w.reg.PushHost(), "acme/two:v1", archivetest.Options{}, shared)
	w.run("pull", "--all", w.ref("acme/one:v1"))
	w.run("pull", "--all", w.ref("acme/two:v1"))
	if list := w.artifacts(); len(list) != 2 || !slices.Equal(list[0].Tags, []string{"v1"}) || list[0].Cached < 2<<20 {
		t.Errorf("cache ls: %+v", list)
	}
	before, _, err := diskUse(w.Cache())
	if err != nil {
		t.Fatal(err)
	}
	w.run("cache", "rm", w.ref("acme/one:v1"))
	after, _, err := diskUse(w.Cache())
	if err != nil || before-after < 1<<20 {
		t.Errorf("rm gave back %d bytes of disk, want 1 MiB at least: %v", before-after, err)
	}
	if list := w.artifacts(); len(list) != 1 || !strings.Contains(list[0].Reference, "acme/two") {
		t.Errorf("cache ls after rm: %+v", list)
	}
	w.reg.Reset()
	w.reads(content(shared), "cat", w.ref("acme/two:v1"), "shared")
	costs(t, "the artifact that stays", w.reg.Proxy, nothing)
	w.reads(content(own), "cat", w.ref("acme/one:v1"), "own")
	if c := w.reg.Counts(); c.Range != 1 || c.Blob != 1 || c.Manifest != 1 {
		t.Errorf("the artifact that was removed: upstream saw %+v, want it to come anew", c)
	}
}

// TestPruneAndClear free what they say they free.
func TestPruneAndClear(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var files []archivetest.File
	for i := range 20 {
		files = append(files, file(fmt.Sprintf("f%02d", i), uint64(i), 1<<20))
	}
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, files...)
	w.run("pull", "--all", w.ref("acme/app:v1"))
	w.run("cat", w.ref("acme/app:v1"), "f00") // the last that was read goes last
	type freed struct {
		FreedEntries int64 `json:"freed_entries"`
		FreedBytes   int64 `json:"freed_bytes"`
		Bytes        int64 `json:"bytes"`
	}
	command := func(args ...string) (f freed) {
		t.Helper()
		if err := json.Unmarshal(w.run(append(args, "-o", "json")...), &f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	used := func() int64 {
		t.Helper()
		n, _, err := diskUse(w.Cache())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := used()
	dry := command("cache", "prune", "--target", "10MiB", "--dry-run")
	if got := used(); got != before {
		t.Errorf("a dry run changed the disk use from %d to %d", before, got)
	}
	pruned := command("cache", "prune", "--target", "10MiB")
	if got := used(); got > 11<<20 || got < 8<<20 || before-got < pruned.FreedBytes*9/10 || before-got > pruned.FreedBytes*11/10 {
		t.Errorf("prune to 10 MiB: says %+v; the disk use went from %d to %d", pruned, before, got)
	}
	if dry.FreedBytes < pruned.FreedBytes*9/10 || dry.FreedBytes > pruned.FreedBytes*11/10 {
		t.Errorf("the dry run said %+v, prune did %+v", dry, pruned)
	}
	w.reg.Reset()
	w.reads(content(files[0]), "cat", w.ref("acme/app:v1"), "f00")
	costs(t, "what was read last, after prune", w.reg.Proxy, nothing)
	if p := command("cache", "prune", "--unused-for", "24h", "--target", "1MiB"); p.FreedEntries != 0 {
		t.Errorf("prune of what was not used for a day: %+v, want nothing", p)
	}
	command("cache", "clear", "content", "block")
	w.reads(content(files[0]), "cat", w.ref("acme/app:v1"), "f00")
	costs(t, "after clear of content and block", w.reg.Proxy, registrytest.Counts{Range: 1})
	command("cache", "clear")
	if got := used(); got > 1<<20 {
		t.Errorf("after clear of all: %d bytes", got)
	}
	w.reads(content(files[0]), "cat", w.ref("acme/app:v1"), "f00")
	costs(t, "after clear of all", w.reg.Proxy, coldByTag)
}

// TestPrefetch fetches what its patterns match, and no more.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	files := []archivetest.File{
		file("css/a.css", 1, 200_000), file("css/deep/b.css", 2, 200_000), file("img/c.png", 3, 200_000), file("img/d.svg", 4, 200_000),
	}
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, files...)
	ref := w.ref("acme/app:v1")
	w.run("prefetch", ref, "css", "img/*.png")
	w.reg.Reset()
	for _, f := range files[:3] {
		w.reads(content(f), "cat", ref, f.Path)
	}
	costs(t, "what the patterns match", w.reg.Proxy, nothing)
	w.reads(content(files[3]), "cat", ref, files[3].Path)
	costs(t, "what they don't", w.reg.Proxy, registrytest.Counts{Range: 1})
	w.run("cache", "clear")
	w.reg.Reset()
	w.run("prefetch", ref)
	costs(t, "all of it", w.reg.Proxy, coldByTag)
}

// TestCachesOffAndElsewhere switches caches off, each alone, and moves one.
func TestCachesOffAndElsewhere(t *testing.T) {
	t.Parallel()
	f := file("f", 1, 300_000)
	for name, c := range map[string]struct {
		config string
		cold   registrytest.Counts // what the first read costs besides
		again  registrytest.Counts // what a second one costs
	}{
		"ref":     {"caches: {ref: {enabled: false}}\n", nothing, oneHead},
		"content": {"caches: {content: {enabled: false}}\n", nothing, nothing}, // the blocks have it
		"block":   {"caches: {block: {enabled: false}}\n", nothing, nothing},   // content has it
		"both": {
			"caches: {content: {enabled: false}, block: {enabled: false}, memory: {size: 0}}\n",
			nothing, registrytest.Counts{Range: 1},
		},
		// A cat is two calls, and nothing is kept from the first one for the second.
		"manifest": {
			"caches: {manifest: {enabled: false}, memory: {size: 0}}\n",
			registrytest.Counts{Manifest: 1}, registrytest.Counts{Manifest: 2},
		},
		"index":  {"caches: {index: {enabled: false}}\n", nothing, nothing}, // memory has it
		"memory": {"caches: {memory: {size: 0}}\n", nothing, nothing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{config: c.config})
			push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("a", 2, 100_000), f)
			w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
			costs(t, "cold", w.reg.Proxy, plus(coldByTag, c.cold))
			w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
			costs(t, "again", w.reg.Proxy, c.again)
		})
	}
	t.Run("elsewhere", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		w := newWorld(t, setup{config: fmt.Sprintf("caches: {content: {dir: %q}}\n", dir)})
		push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
		w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
		if n, _, err := diskUse(dir); err != nil || n < 300_000 {
			t.Errorf("the folder of its own takes %d bytes: %v", n, err)
		}
		w.restart(w.Config)
		w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
		costs(t, "in both lives", w.reg.Proxy, coldByTag)
	})
}
