package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/test/interop/rig"
)

// TestFolderNotOurs starts a daemon on cache folders that others own or may write in, whole ones and parts: it is refused,
// and told which folder, why, and what to do; that done, it starts.
func TestFolderNotOurs(t *testing.T) {
	testneed.Root(t)
	for name, c := range map[string]struct {
		spoil, mend func(dir string) error
		why, remedy string
	}{
		"owner": {
			spoil: func(dir string) error { return os.Chown(dir, somebody, 0) },
			mend:  func(dir string) error { return os.Chown(dir, 0, 0) },
			why:   "it belongs to user 65534, and blobd runs as user 0", remedy: "; chown -R 0 ",
		},
		"group": {
			spoil: func(dir string) error { return os.Chmod(dir, 0o770) },
			mend:  func(dir string) error { return os.Chmod(dir, 0o750) },
			why:   "users other than its owner may write in it (mode 0770)", remedy: "; chmod go-w ",
		},
		"world": {
			spoil: func(dir string) error { return os.Chmod(dir, 0o777) },
			mend:  func(dir string) error { return os.Chmod(dir, 0o755) },
			why:   "users other than its owner may write in it (mode 0777)", remedy: "; chmod go-w ",
		},
	} {
		for _, part := range []string{"", "content", filepath.Join("refs", "tmp")} {
			t.Run(name+"/"+part, func(t *testing.T) {
				t.Parallel()
				h := newHost(t, setup{})
				dir := filepath.Join(h.Cache(), part)
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := c.spoil(dir); err != nil {
					t.Fatal(err)
				}
				r := h.Run(t.Context(), "serve", "--cache-dir", h.Cache(), "--http-addr", "off", "--log-level", "error")
				oneLine(t, r, 1, dir+" can't hold a cache: "+c.why+c.remedy+dir)
				if err := c.mend(dir); err != nil {
					t.Fatal(err)
				}
				if err := h.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestForeignFiles puts things of somebody else all over the cache folder, some of them named as entries are: they are
// there after pruning, clearing, evicting and a restart, but for what pretends to be an entry and is none; no byte of
// them is served.
func TestForeignFiles(t *testing.T) {
	testneed.Linux(t)
	t.Parallel()
	w := newWorld(t, setup{config: onDiskOnly, flags: []string{"--max-size", "8MiB"}})
	f := file("f", 1, 500_000)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
	entry := cached(t, w.Cache(), "content")[0]
	var foreign []string
	put := func(path string) {
		t.Helper()
		path = filepath.Join(w.Cache(), path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("somebody else's"), 0o644); err != nil {
			t.Fatal(err)
		}
		foreign = append(foreign, path)
	}
	shard := filepath.Join("content", filepath.Base(filepath.Dir(entry)))
	for _, path := range []string{
		"notes", "lost+found/file", "content/notes", "content/folder/deep/file", "content/zz/file", shard + "/notes",
		shard + "/folder/file", "refs/00/notes", "blocks/README", "tmp/file",
	} {
		put(path)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(w.Cache(), "link")); err != nil {
		t.Fatal(err)
	}
	// A file that has an entry's name, in its place, is found out and goes; the file is fetched again.
	if err := os.Remove(entry); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(entry, content(file("other", 2, 500_000)), 0o444); err != nil {
		t.Fatal(err)
	}
	there := func(when string) {
		t.Helper()
		for _, path := range foreign {
			if text, err := os.ReadFile(path); err != nil || string(text) != "somebody else's" {
				t.Errorf("%s: %s: %q, %v", when, path, text, err)
			}
		}
		if to, err := os.Readlink(filepath.Join(w.Cache(), "link")); err != nil || to != "/etc/hostname" {
			t.Errorf("%s: the link leads to %q, %v", when, to, err)
		}
	}
	for range 2 {
		w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
		for i := range 4 { // evicts
			w.readsCold("acme/fill" + strings.Repeat("x", i))
			w.readsCold("acme/more" + strings.Repeat("x", i))
		}
		there("after evictions")
		w.run("cache", "verify")
		w.run("cache", "prune", "--target", "0")
		there("after prune")
		w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
		w.run("cache", "clear")
		there("after clear")
		w.stop()
		w.start()
		there("after a restart")
	}
}

// TestStartInTrouble starts a daemon on a full disk, one without inodes and a read-only one: it serves, says what is
// wrong, and keeps what it reads when that is over, without a restart.
func TestStartInTrouble(t *testing.T) {
	needsMounts(t)
	for _, c := range []struct {
		name, tmpfs string
		begin, end  func(w *world, disk *rig.Mount) error
	}{
		{
			"full", "size=512k",
			func(w *world, _ *rig.Mount) error { return fillOnce(w) },
			func(w *world, _ *rig.Mount) error { return unfill(w) },
		},
		{
			"out of inodes", "nr_inodes=60",
			func(w *world, _ *rig.Mount) error { return fillInodes(w) },
			func(w *world, _ *rig.Mount) error { return unfill(w) },
		},
		{
			"read-only", "size=8m",
			func(w *world, disk *rig.Mount) error { return disk.Remount(w.t.Context(), "ro") },
			func(w *world, disk *rig.Mount) error { return disk.Remount(w.t.Context(), "rw") },
		},
	} {
		for _, emptied := range []bool{true, false} {
			name := c.name + ", with a cache from before"
			if emptied {
				name = c.name + ", with an empty folder"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := &world{t: t, reg: registrytest.New(t, registrytest.Options{}), Host: newHost(t, setup{config: onDiskOnly})}
				disk, err := rig.Tmpfs(w.Cache(), c.tmpfs)
				w.mount(disk, err)
				w.start()
				w.readsCold("acme/before")
				w.stop()
				if emptied {
					for _, name := range append([]string{"LOCK", "journal", "snapshot", "catalogue"}, folders...) {
						if err := os.RemoveAll(filepath.Join(w.Cache(), name)); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := c.begin(w, disk); err != nil {
					t.Fatal(err)
				}
				w.start()
				for _, repository := range []string{"acme/one", "acme/two"} {
					w.readsCold(repository)
				}
				w.reads(content(file("small", seedOf("acme/before"), 20_000)), "cat", w.ref("acme/before:v1"), "small")
				if emptied { // else the cache from before makes room, or is read
					w.troubled(name)
				}
				if err := c.end(w, disk); err != nil {
					t.Fatal(err)
				}
				w.keepsAgain("after")
				eventually(t, "the trouble is over", func() bool { return w.metric("blobd_cache_degraded") == 0 })
			})
		}
	}
}
