package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
)

// TestDamagedFiles damages each file of the cache folder in each way, one at a time, and reads: the bytes are right, and
// a damaged entry of a cache is counted.
func TestDamagedFiles(t *testing.T) {
	for _, how := range damages {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			whole, piece := file("whole", 1, 300_000), file("piece", 2, 3<<20)
			push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, whole)
			push(t, w.reg.PushHost(), "acme/big:v1", archivetest.Options{}, piece)
			read := func() {
				t.Helper()
				w.reads(content(whole), "cat", w.ref("acme/app:v1"), "whole")
				w.reads(part(t, piece, 1<<20, 1<<20), "cat", "--offset", "1MiB", "--length", "1MiB", w.ref("acme/big:v1"), "piece")
			}
			w.reads(content(whole), "cat", w.ref("acme/app:v1"), "whole")
			w.run("cache", "clear", "block") // of a file that is in content: nobody reads them again
			read()
			w.stop()
			seen := map[string]int{}
			for _, name := range everyFile(t, w.Cache()) {
				class := classOf(t, w.Cache(), name)
				seen[class]++
				if err := how.do(name); err != nil {
					t.Fatal(err)
				}
				w.start()
				read()
				if n := w.metric("blobd_cache_corruptions_total"); slices.Contains(folders, class) && n == 0 {
					t.Errorf("%s %s: not counted", class, filepath.Base(name))
				}
				w.stop()
			}
			for _, folder := range folders {
				if seen[folder] == 0 {
					t.Errorf("no file of %s was damaged: there are %v", folder, slices.Sorted(maps.Keys(seen)))
				}
			}
		})
	}
}

// classOf is the folder of a file in the cache folder; the catalogue's and the store's own files have none.
func classOf(t *testing.T, cacheDir, name string) string {
	t.Helper()
	relative, err := filepath.Rel(cacheDir, name)
	if err != nil {
		t.Fatal(err)
	}
	first, _, below := strings.Cut(relative, string(filepath.Separator))
	if !below {
		return "."
	}
	return first
}

// TestDamagedWhileRunning damages a file that the running daemon has served already.
func TestDamagedWhileRunning(t *testing.T) {
	t.Parallel()
	for _, how := range damages {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{config: "caches: {memory: {size: 0}}\n"})
			f := file("f", 1, 4<<20)
			push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, f)
			ref := w.ref("acme/app:v1")
			w.reads(content(f), "cat", ref, "f")
			w.reads(content(f), "cat", ref, "f")
			names := cached(t, w.Cache(), "content")
			if len(names) != 1 {
				t.Fatalf("content holds %v, want one file", names)
			}
			if err := how.do(names[0]); err != nil {
				t.Fatal(err)
			}
			w.reads(content(f), "cat", ref, "f")
			if n := w.metric(`blobd_cache_corruptions_total{cache="content"}`); n != 1 {
				t.Errorf("%v corruptions of content are counted, want 1", n)
			}
			w.reads(content(f), "cat", ref, "f")
		})
	}
}

// TestVerify damages three files, in three ways, and has verify find them, and nothing else; a second run finds nothing.
func TestVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var files []archivetest.File
	for i := range 6 {
		files = append(files, file(fmt.Sprintf("f%d", i), uint64(i), 200_000))
	}
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, files...)
	ref := w.ref("acme/app:v1")
	w.run("prefetch", ref)
	if r := w.Run(t.Context(), "cache", "verify"); r.Exit != 0 {
		t.Errorf("verify of what is whole: exit code %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	names := cached(t, w.Cache(), "content")
	if len(names) != len(files) {
		t.Fatalf("content holds %d files, want %d", len(names), len(files))
	}
	for i, how := range []damage{damages[0], damages[1], damages[3]} {
		if err := how.do(names[i]); err != nil {
			t.Fatal(err)
		}
	}
	r := w.Run(t.Context(), "cache", "verify")
	if r.Exit != 5 || strings.Count(string(r.Stdout), "dropped content ") != 3 || strings.Count(string(r.Stdout), "dropped ") != 3 {
		t.Errorf("verify: exit code %d, %s%s, want 5 and three that were dropped", r.Exit, r.Stdout, r.Stderr)
	}
	for i := range 3 {
		if _, sum, _ := strings.Cut(filepath.Base(names[i]), "-"); !strings.Contains(string(r.Stdout), sum) {
			t.Errorf("verify does not name %s: %s", sum, r.Stdout)
		}
	}
	if r := w.Run(t.Context(), "cache", "verify"); r.Exit != 0 {
		t.Errorf("a second verify: exit code %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	for _, f := range files {
		w.reads(content(f), "cat", ref, f.Path)
	}
}
