package e2e

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/archivetest"
)

// alwaysOver has the TTL of every tag over at once.
const alwaysOver = "ttl: {default: 1ms}\n"

// pulled is what pull -o json says.
type pulled struct {
	Digest     string
	Stale      bool
	AgeSeconds float64 `json:"age_seconds"`
}

func (w *world) pull(args ...string) pulled {
	w.t.Helper()
	var p pulled
	if err := json.Unmarshal(w.run(append([]string{"pull", "-o", "json"}, args...)...), &p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// TestRegistryStopped reads what is warm while the registry is gone.
func TestRegistryStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	f, other := file("f", 1, 1<<20), file("other", 2, 1<<20)
	d := push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f, other)
	ref := w.ref("acme/app:v1")
	w.reads(content(f), "cat", ref, "f")
	w.reg.Stop()
	w.reads(content(f), "cat", ref, "f")
	if p := w.pull(ref); p.Stale || p.Digest != d.String() {
		t.Errorf("within the TTL: %+v, want %s, fresh", p, d)
	}
	w.restart(alwaysOver)
	w.reads(content(f), "cat", ref, "f")
	if p := w.pull(ref); !p.Stale || p.Digest != d.String() || p.AgeSeconds <= 0 {
		t.Errorf("after the TTL: %+v, want %s, stale, of some age", p, d)
	}
	if w.metric(`blobd_cache_requests_total{cache="ref",result="stale"}`) == 0 {
		t.Error("no stale answer is counted")
	}
	w.reads(content(f), "cat", w.ref("acme/app@"+d.String()), "f")
	if r := w.Run(t.Context(), "pull", "--require-fresh", ref); r.Exit != 7 {
		t.Errorf("--require-fresh: exit code %d, want 7: %s", r.Exit, r.Stderr)
	}
	if r := w.Run(t.Context(), "cat", ref, "other"); r.Exit != 7 {
		t.Errorf("a file that is not cached: exit code %d, want 7: %s", r.Exit, r.Stderr)
	}
	if err := w.reg.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon sees that the registry is back", func() bool {
		r := w.Run(t.Context(), "cat", ref, "other")
		return r.Exit == 0 && string(r.Stdout) == string(content(other))
	})
	if p := w.pull("--max-age", "0", ref); p.Stale {
		t.Errorf("with the registry back: %+v, want fresh", p)
	}
}

// TestTagMoved moves a tag: who asks for it sees that after the TTL, or at once where the command says so, and from
// then on everybody does.
func TestTagMoved(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		see    []string // flags of the pull that must see it
	}{
		"after the TTL": {alwaysOver, nil},
		"max-age":       {"", []string{"--max-age", "0"}},
		"no-cache":      {"", []string{"--no-cache"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{config: c.config})
			v1, v2 := file("f", 1, 300_000), file("f", 2, 400_000)
			ref := w.ref("acme/app:latest")
			d1 := push(t, w.reg.PushHost(), "acme/app:latest", archivetest.Options{}, v1)
			w.reads(content(v1), "cat", ref, "f")
			d2 := push(t, w.reg.PushHost(), "acme/app:latest", archivetest.Options{Zstd: true}, v2)
			if c.config == "" {
				if p := w.pull(ref); p.Digest != d1.String() {
					t.Errorf("within the TTL: %s, want the old %s", p.Digest, d1)
				}
			}
			if p := w.pull(append(c.see, ref)...); p.Digest != d2.String() {
				t.Errorf("pull %v: %s, want the new %s", c.see, p.Digest, d2)
			}
			if p := w.pull(ref); p.Digest != d2.String() {
				t.Errorf("the next one: %s, want the new %s", p.Digest, d2)
			}
			w.reads(content(v2), "cat", ref, "f")
			w.reads(content(v1), "cat", w.ref("acme/app@"+d1.String()), "f")
		})
	}
}

// TestNoCacheStores reads with --no-cache: the bytes come anew, and who comes next is served with them.
func TestNoCacheStores(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	f := file("f", 1, 1<<20)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("a", 2, 100_000), f)
	ref := w.ref("acme/app:v1")
	w.reads(content(f), "cat", "--no-cache", ref, "f")
	costs(t, "--no-cache, cold", w.reg.Proxy, coldByTag)
	w.reads(content(f), "cat", ref, "f")
	costs(t, "the next", w.reg.Proxy, nothing)
	w.reads(content(f), "cat", "--no-cache", ref, "f")
	costs(t, "--no-cache, warm", w.reg.Proxy, coldByTag)
}

// TestUnderWayStays moves a tag while a cat and a cp of two files, and an Archive of the client library, are under
// way: each stays with the digest it resolved.
func TestUnderWayStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{config: alwaysOver})
	olds := []archivetest.File{file("one", 1, 2<<20), file("two", 2, 2<<20)}
	news := []archivetest.File{file("one", 3, 2<<20), file("two", 4, 2<<20)}
	ref := w.ref("acme/app:latest")
	push(t, w.reg.PushHost(), "acme/app:latest", archivetest.Options{}, olds...)
	w.run("pull", ref)

	c, err := client.Dial(t.Context(), client.WithSocket(w.Socket()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	archive, err := c.Pull(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	w.reg.HoldAfter(1 << 20)
	cat := w.Command(t.Context(), "cat", ref, "one", "two")
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	begin := make([]byte, 64<<10)
	if _, err := io.ReadFull(out, begin); err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "dest")
	pulls := w.called("Pull")
	cp := w.Command(t.Context(), "cp", ref, dest)
	if err := cp.Start(); err != nil {
		t.Fatal(err)
	}
	reads := w.called("ReadFile")
	eventually(t, "cp has resolved the tag and reads", func() bool {
		return w.called("Pull") > pulls && w.called("ReadFile") > reads
	})

	moved := push(t, w.reg.PushHost(), "acme/app:latest", archivetest.Options{}, news...)
	if p := tagAt(w, ref); p != moved.String() {
		t.Errorf("the tag is at %s, want %s", p, moved)
	}
	w.reg.Release()
	same(t, "cat", append(begin, readAll(t, out)...), append(content(olds[0]), content(olds[1])...))
	if err := cat.Wait(); err != nil {
		t.Error(err)
	}
	if err := cp.Wait(); err != nil {
		t.Error(err)
	}
	for _, f := range olds {
		got, err := os.ReadFile(filepath.Join(dest, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "cp", got, content(f))
		if got, err = archive.ReadFile(f.Path); err != nil {
			t.Fatal(err)
		}
		same(t, "Archive", got, content(f))
	}
	w.reads(content(news[0]), "cat", ref, "one")
}

// tagAt is what a tag's manifest hashes to. It needs no blob: those are held back.
func tagAt(w *world, ref string) string {
	w.t.Helper()
	return digest.FromBytes(w.run("manifest", "--max-age", "0", ref)).String()
}
