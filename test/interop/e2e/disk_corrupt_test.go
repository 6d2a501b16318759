package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

// onDiskOnly has nothing served from memory, so that what is read is read from disk.
const onDiskOnly = "caches: {memory: {size: 0}}\n"

// worse are more ways for a file to go bad than damages has.
var worse = []damage{
	{"extended", func(path string) error {
		return edit(path, func(b []byte) []byte { return append(b, make([]byte, 5000)...) })
	}},
	{"rewritten with other bytes", func(path string) error {
		return edit(path, func(b []byte) []byte {
			for i := range b {
				b[i] ^= 0x55
			}
			return b
		})
	}},
	{"replaced by another file", func(path string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := range data {
			data[i] ^= 0x55
		}
		if err := os.WriteFile(path+".new", data, 0o440); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}},
	{"removed", os.Remove},
}

// edit writes a file anew, in its place.
func edit(path string, change func([]byte) []byte) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil { // it may be read-only
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(change(data), 0)
	return err
}

// TestDamagedEntries damages the entries of each cache in each way under a daemon that has served them: the next read is
// right and costs one request for what was damaged, and the one after it nothing.
func TestDamagedEntries(t *testing.T) {
	t.Parallel()
	refetch := map[string]registrytest.Counts{
		"refs": oneHead, "manifests": {Manifest: 1}, "indexes": {Blob: 1}, "content": {Range: 1}, "blocks": {Range: 1},
	}
	w := newWorld(t, setup{config: onDiskOnly})
	n := 0
	for _, how := range append(damages, worse...) {
		for _, folder := range folders {
			n++
			f, name := file("f", uint64(n), 700_000), fmt.Sprintf("acme/a%d:v1", n)
			push(t, w.reg.PushHost(), name, archivetest.Options{}, f)
			ref := w.ref(name)
			read := func() { w.reads(content(f), "cat", ref, "f") }
			switch folder {
			case "content":
				read()
				w.run("cache", "clear", "block") // or no request would be needed
			case "blocks":
				read = func() {
					w.reads(part(t, f, 0, 600_000), "cat", "--length", "600000", ref, "f")
				}
				read()
			default:
				read()
			}
			read()
			for _, entry := range cached(t, w.Cache(), folder) {
				if err := how.do(entry); err != nil {
					t.Fatal(err)
				}
			}
			w.reg.Reset()
			read()
			got, want := w.reg.Counts(), refetch[folder]
			got.Bytes = 0
			if got.Total() > want.Total() {
				t.Errorf("%s, %s: upstream saw %+v, want %+v at most:\n%s", folder, how.name, got, want, listed(w.reg.Proxy))
			}
			w.reg.Reset()
			read()
			costs(t, folder+", "+how.name+", once more", w.reg.Proxy, nothing)
		}
	}
}

// TestDamagedMidway damages a file while a reader that takes its time is in the midst of it, whether its bytes come from
// the content cache, from blocks, or from upstream: all that the reader gets is right, the end too, and at most one
// request brings what was damaged.
func TestDamagedMidway(t *testing.T) {
	t.Parallel()
	for _, how := range append(damages, worse...) {
		for _, from := range []string{"content", "blocks", "upstream"} {
			t.Run(how.name+"/"+from, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, setup{config: onDiskOnly})
				f := file("f", 1, 12<<20)
				push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
				args, want, folder := []string{"cat", w.ref("acme/app:v1"), "f"}, content(f), "content"
				switch from {
				case "content":
					w.reads(want, args...)
					w.run("cache", "clear", "block")
				case "blocks": // of a part, which is in no other cache
					want, folder = want[:len(want)-1], "blocks"
					args = []string{"cat", "--length", fmt.Sprint(len(want)), w.ref("acme/app:v1"), "f"}
					w.reads(want, args...)
				}
				w.reg.Reset()
				cat := w.Command(t.Context(), args...)
				out, err := cat.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cat.Start(); err != nil {
					t.Fatal(err)
				}
				begin := make([]byte, 100_000) // windows and pipes hold a few MiB more
				if _, err := io.ReadFull(out, begin); err != nil {
					t.Fatal(err)
				}
				if from == "upstream" { // the daemon has all of it, the reader has not
					eventually(t, "the file is there", func() bool { return len(cached(t, w.Cache(), folder)) > 0 })
				}
				for _, entry := range cached(t, w.Cache(), folder) {
					if err := how.do(entry); err != nil {
						t.Fatal(err)
					}
				}
				got := append(begin, readAll(t, out)...)
				if err := cat.Wait(); err != nil {
					t.Errorf("cat: %v", err)
				}
				if !bytes.Equal(got, want) {
					same(t, "what the reader got", got, want)
				}
				// Blocks that are found damaged one after another may come with two requests, but no byte comes twice.
				limit := map[string]int64{"content": 1, "blocks": 2, "upstream": 5}[from] // a tag, a manifest, an index, the file
				if c := w.reg.Counts(); int64(c.Total()) > limit || c.Range > 2 || from != "upstream" && c.Bytes > int64(len(content(f))) {
					t.Errorf("upstream saw %+v:\n%s", c, listed(w.reg.Proxy))
				}
				w.reads(want, args...)
			})
		}
	}
}
