package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/rig"
)

// trouble is something that befalls the disk, or the folder, of a daemon that runs.
type trouble struct {
	name  string
	mkfs  []string // an ext4 made with these flags; none: a tmpfs of these options
	tmpfs string
	begin func(w *world) error
	end   func(w *world) error
	brief bool // the daemon mends it at once: nothing is wrong any more when it is asked
}

var troubles = []trouble{
	{name: "512 KiB, all of it", tmpfs: "size=512k", begin: fillUp, end: unfill},
	{name: "64 MiB, all of it", tmpfs: "size=64m", begin: fillUp, end: unfill},
	{name: "out of inodes, tmpfs", tmpfs: "nr_inodes=60", begin: fillInodes, end: unfill},
	{name: "out of inodes, ext4", mkfs: []string{"-N", "256"}, begin: fillInodes, end: unfill},
	{name: "read-only", mkfs: []string{"-O", "^metadata_csum"}, begin: readOnly, end: writable},
	{name: "cache folder deleted", begin: deleteCache, end: nothingToDo, brief: true},
	{name: "one cache's folder deleted", begin: deleteContent, end: nothingToDo, brief: true},
	{name: "cache folder replaced by somebody else's", begin: replaceCache, end: giveBack},
	{name: "shards swapped for links", begin: linkShards, end: unlinkShards},
}

// TestDiskTrouble has trouble befall the disk of a daemon that runs: reads, warm, cold and of parts, go on with right
// bytes; the daemon serves on and says what is wrong, once; and when the trouble is over it keeps what it reads again,
// without a restart, and says so.
func TestDiskTrouble(t *testing.T) {
	needsMounts(t)
	for _, c := range troubles {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, reg: registrytest.New(t, registrytest.Options{}), Host: newHost(t, setup{config: onDiskOnly})}
			switch {
			case c.mkfs != nil:
				disk, err := rig.Format(t.Context(), "ext4", filepath.Join(t.TempDir(), "image"), w.Cache(), c.mkfs...)
				w.mount(disk, err)
			case c.tmpfs != "":
				disk, err := rig.Tmpfs(w.Cache(), c.tmpfs)
				w.mount(disk, err)
			}
			w.start()
			w.survives(c)
		})
	}
}

// survives is the life of a world with one trouble in it.
func (w *world) survives(c trouble) {
	t := w.t
	t.Helper()
	warm := file("warm", 1, 30_000)
	push(t, w.reg.PushHost(), "acme/warm:v1", archivetest.Options{}, warm)
	for range 2 {
		w.reads(content(warm), "cat", w.ref("acme/warm:v1"), "warm")
	}
	w.keepsAgain("before")
	if err := c.begin(w); err != nil {
		t.Fatal(err)
	}
	quiet := strings.Count(w.Log(), `"level":"error"`)
	for i := range 10 {
		w.reads(content(warm), "cat", w.ref("acme/warm:v1"), "warm")
		w.readsCold(fmt.Sprintf("acme/during%d", i))
	}
	if !c.brief {
		w.troubled(c.name)
	}
	if n := strings.Count(w.Log(), `"level":"error"`) - quiet; n > 3 {
		t.Errorf("the log says it %d times:\n%s", n, w.Log())
	}
	if err := c.end(w); err != nil {
		t.Fatal(err)
	}
	w.keepsAgain("after")
	eventually(t, "the trouble is over", func() bool { return w.metric("blobd_cache_degraded") == 0 })
	if p := w.problems(); len(p) > 0 {
		t.Errorf("status still says %q", p)
	}
}

// readsCold reads a new archive: small files, a large one, and a part.
func (w *world) readsCold(repository string) {
	w.t.Helper()
	small, large := file("small", seedOf(repository), 20_000), file("zlarge", seedOf(repository)+1, 700_000)
	push(w.t, w.reg.PushHost(), repository+":v1", archivetest.Options{Zstd: true}, small, large)
	ref := w.ref(repository + ":v1")
	w.reads(content(small), "cat", ref, "small")
	w.reads(part(w.t, large, 300_000, 1000), "cat", "--offset", "300000", "--length", "1000", ref, "zlarge")
	w.reads(content(large), "cat", ref, "zlarge")
}

// keepsAgain waits until a file that was read is kept: a second read of it costs nothing.
func (w *world) keepsAgain(when string) {
	w.t.Helper()
	n := 0
	eventually(w.t, "what was read is kept, "+when, func() bool {
		n++
		f := file("f", seedOf(when)+uint64(n), 20_000)
		repository := fmt.Sprintf("acme/%s%d", when, n)
		push(w.t, w.reg.PushHost(), repository+":v1", archivetest.Options{}, f)
		w.reads(content(f), "cat", w.ref(repository+":v1"), "f")
		w.reg.Reset()
		w.reads(content(f), "cat", w.ref(repository+":v1"), "f")
		return w.reg.Counts().Total() == 0
	})
}

// seedOf makes different seeds of different names.
func seedOf(name string) (seed uint64) {
	for _, c := range []byte(name) {
		seed = seed*131 + uint64(c)
	}
	return seed
}

// troubled expects the daemon to serve, and to say that the disk is in trouble in metrics and status.
func (w *world) troubled(what string) {
	w.t.Helper()
	if status, body, err := w.Get(w.t.Context(), "/readyz"); err != nil || status != http.StatusOK {
		w.t.Errorf("%s: /readyz: %d %s, %v", what, status, body, err)
	}
	w.run("healthcheck")
	if w.metric("blobd_cache_degraded") != 1 {
		w.t.Errorf("%s: blobd_cache_degraded is not 1", what)
	}
	if len(w.problems()) == 0 {
		w.t.Errorf("%s: status tells of no problem: %s", what, w.run("status"))
	}
}

// problems is what blobd status says is wrong.
func (w *world) problems() []string {
	w.t.Helper()
	var status struct{ Problems []string }
	if err := json.Unmarshal(w.run("status", "-o", "json"), &status); err != nil {
		w.t.Fatal(err)
	}
	return status.Problems
}

// filler is what takes up the disk: a folder of somebody else.
func (w *world) filler() string { return filepath.Join(w.Cache(), "somebody-elses") }

// fillUp fills the disk, and again what the cache makes room for, until it has nothing left to give.
func fillUp(w *world) error {
	for i := range 4 {
		if err := fillOnce(w); err != nil {
			return err
		}
		w.readsCold(fmt.Sprintf("acme/filling%d", i))
	}
	return nil
}

// fillOnce fills what is free.
func fillOnce(w *world) error {
	if err := os.MkdirAll(w.filler(), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(w.filler(), "big"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, piece := range []int{1 << 20, 4 << 10} {
		for err == nil {
			_, err = f.Write(make([]byte, piece))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		err = nil
	}
	return nil
}

// fillInodes makes files until there can be no more.
func fillInodes(w *world) error {
	err := os.Mkdir(w.filler(), 0o700)
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(w.filler(), fmt.Sprint(i)), nil, 0o600)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

func unfill(w *world) error { return os.RemoveAll(w.filler()) }

// readOnly has all that is opened from now on be on a read-only disk; a mount over it, since a disk with files that are
// open for writing can't be remounted so.
func readOnly(w *world) error {
	if err := syscall.Mount(w.Cache(), w.Cache(), "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	w.t.Cleanup(func() { // where the test ended early
		var at syscall.Statfs_t
		if syscall.Statfs(w.Cache(), &at) == nil && at.Flags&syscall.MS_RDONLY != 0 {
			_ = writable(w)
		}
	})
	return syscall.Mount("", w.Cache(), "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
}

func writable(w *world) error { return syscall.Unmount(w.Cache(), syscall.MNT_DETACH) }

func deleteCache(w *world) error { return os.RemoveAll(w.Cache()) }

func deleteContent(w *world) error { return os.RemoveAll(filepath.Join(w.Cache(), "content")) }

func nothingToDo(*world) error { return nil }

// somebody is a user that is neither root nor the daemon's.
const somebody = 65534

// replaceCache puts a folder of somebody else in the place of the cache folder.
func replaceCache(w *world) error {
	return errors.Join(os.RemoveAll(w.Cache()), os.Mkdir(w.Cache(), 0o777), os.Chown(w.Cache(), somebody, somebody))
}

// giveBack makes that folder the daemon's. Nothing was written there.
func giveBack(w *world) error {
	if names, err := os.ReadDir(w.Cache()); err != nil || len(names) > 0 {
		w.t.Errorf("somebody else's folder holds %v, %v", names, err)
	}
	return errors.Join(os.Chown(w.Cache(), os.Geteuid(), os.Getegid()), os.Chmod(w.Cache(), 0o700))
}

// elsewhere is the folder that links lead to, with a file in it that is somebody else's.
func (w *world) elsewhere() string { return filepath.Join(w.Dir, "elsewhere") }

// behind is a list of what is elsewhere.
func (w *world) behind() string { return filepath.Join(w.Dir, "behind") }

// linkShards swaps every shard of every cache for a link to one folder elsewhere.
func linkShards(w *world) error {
	if err := os.Mkdir(w.elsewhere(), 0o700); err != nil {
		return err
	}
	for _, folder := range folders {
		for n := range 256 {
			shard := filepath.Join(w.Cache(), folder, fmt.Sprintf("%02x", n))
			names, _ := filepath.Glob(filepath.Join(shard, "*"))
			for _, name := range names { // what the shard held is behind the link
				if err := os.Rename(name, filepath.Join(w.elsewhere(), filepath.Base(name))); err != nil {
					return err
				}
			}
			if err := errors.Join(os.RemoveAll(shard), os.Symlink(w.elsewhere(), shard)); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(w.behind(), []byte(listing(w.t, w.elsewhere())), 0o600)
}

// unlinkShards removes the links. Behind them all is as it was.
func unlinkShards(w *world) error {
	w.run("cache", "prune", "--target", "0")
	w.run("cache", "clear")
	before, err := os.ReadFile(w.behind())
	if now := listing(w.t, w.elsewhere()); err != nil || now != string(before) || now == "" {
		w.t.Errorf("behind the links there was\n%sand is\n%s%v", before, now, err)
	}
	for _, folder := range folders {
		links, err := filepath.Glob(filepath.Join(w.Cache(), folder, "??"))
		if err != nil || len(links) != 256 {
			w.t.Errorf("%s holds %d links: %v", folder, len(links), err)
		}
		for _, link := range links {
			if err := os.Remove(link); err != nil {
				return err
			}
		}
	}
	return nil
}

// listing tells the names, sizes and times of all that is in a folder.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range everyFile(t, dir) {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, name, fi.Size(), fi.ModTime())
	}
	return b.String()
}
