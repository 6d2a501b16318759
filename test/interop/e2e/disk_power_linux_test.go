package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/test/interop/rig"
)

// TestPowerCut fills a cache on a file system of its own by several readers, cuts that file system off in the midst of
// it, kills the daemon, has the file system recover and starts a daemon on what is left: each byte that is read, before,
// after the cut and after the start, is right. What a prefetch had answered for before the cut is there without a
// registry, its files too with `durability: full`.
func TestPowerCut(t *testing.T) {
	needsMounts(t)
	rounds := 2
	if long {
		rounds = 25
	}
	for _, kind := range []string{"ext4", "xfs"} {
		for _, durability := range []string{"metadata", "full"} {
			t.Run(kind+"/"+durability, func(t *testing.T) {
				t.Parallel()
				w, disk := onDisk(t, setup{
					registry: registrytest.Options{Dir: t.TempDir()}, config: "durability: " + durability + "\n",
				}, kind)
				var all outcome
				for round := range rounds {
					all.add(cutPower(w, disk, round, durability == "full"))
				}
				t.Logf("%d cuts: %v", rounds, all)
			})
		}
	}
}

// needsMounts asks for what it takes to mount file systems and to cut them off.
func needsMounts(t *testing.T) {
	t.Helper()
	testneed.Root(t)
	testneed.Command(t, "mkfs.ext4", "Debian package e2fsprogs")
	testneed.Command(t, "mkfs.xfs", "Debian package xfsprogs")
	testneed.Command(t, "xfs_io", "Debian package xfsprogs")
}

// onDisk returns a world whose cache folder is a file system of this kind, with a running daemon.
func onDisk(t *testing.T, s setup, kind string, mkfs ...string) (*world, *rig.Mount) {
	t.Helper()
	w := &world{t: t, reg: registrytest.New(t, s.registry)}
	image := filepath.Join(t.TempDir(), "image")
	w.Host = newHost(t, s)
	disk, err := rig.Format(t.Context(), kind, image, w.Cache(), mkfs...)
	w.mount(disk, err)
	w.start()
	return w, disk
}

// mount mounts a file system that was made, until the end of the test.
func (w *world) mount(disk *rig.Mount, err error) {
	w.t.Helper()
	if err == nil {
		err = disk.Mount(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { // before the host's own end
		if err := w.Kill(); err != nil {
			w.t.Error(err)
		}
		if err := disk.Unmount(); err != nil {
			w.t.Error(err)
		}
	})
}

// outcome counts files after a cut.
type outcome struct {
	files     int // that were read from the registry before it
	survived  int
	torn      int // of any cache: found to be bad, and not served
	durable   int // that had to survive, and did
	afterward int // reads that were served while the disk was gone
}

func (o *outcome) add(p outcome) {
	o.files += p.files
	o.survived += p.survived
	o.torn += p.torn
	o.durable += p.durable
	o.afterward += p.afterward
}

func (o outcome) String() string {
	return fmt.Sprintf("%d files were read before, %d survived, of which %d had to; %d entries were torn and found; %d reads in between",
		o.files, o.survived, o.durable, o.torn, o.afterward)
}

// sample is an archive with what is in it, and how far it got before the cut.
type sample struct {
	name, digest string
	files        []archivetest.File
	read         []atomic.Bool // begun before the cut, by file
	prefetched   bool
}

// samples pushes archives of small files and one larger one.
func (w *world) samples(round, n int) (list []*sample) {
	w.t.Helper()
	for i := range n {
		s := &sample{name: fmt.Sprintf("acme/r%d-a%d:v1", round, i)}
		for k := range 12 {
			s.files = append(s.files, file(fmt.Sprintf("small-%02d", k), rand.Uint64(), 1+rand.Int64N(60_000)))
		}
		s.files = append(s.files, file("zlarge", rand.Uint64(), 1_500_000))
		s.read = make([]atomic.Bool, len(s.files))
		d := push(w.t, w.reg.PushHost(), s.name, archivetest.Options{Zstd: i%2 == 1}, s.files...)
		s.digest = fmt.Sprintf("%s/acme/r%d-a%d@%s", w.reg.Host(), round, i, d)
		list = append(list, s)
	}
	return list
}

// dial returns a client of the running daemon.
func (w *world) dial() *client.Client {
	w.t.Helper()
	c, err := client.Dial(w.t.Context(), client.WithSocket(w.Socket()))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// cutPower is one round: load, cut, recovery, and a look at everything.
func cutPower(w *world, disk *rig.Mount, round int, full bool) (o outcome) {
	w.t.Helper()
	samples := w.samples(round, 6)
	var total int64
	for _, s := range samples {
		total += int64(len(s.files))
	}
	after := total/10 + rand.Int64N(total*7/10) // reads
	var reads atomic.Int64
	var cut atomic.Bool
	cutNow, cutDone := make(chan struct{}), make(chan struct{})
	var once sync.Once
	counted := func() {
		if reads.Add(1) >= after {
			once.Do(func() { close(cutNow) })
		}
	}
	go func() {
		defer close(cutDone)
		<-cutNow
		cut.Store(true)
		if err := disk.Cut(context.Background(), round%2 == 1); err != nil {
			w.t.Error(err)
		}
	}()

	c := w.dial()
	var loaders sync.WaitGroup
	for n := range 4 {
		loaders.Go(func() {
			for i, s := range samples {
				if i%4 != n {
					continue
				}
				if i < len(samples)/2 {
					w.prefetch(c, s, &cut, counted)
				}
				w.readSample(c, s, w.ref(s.name), func(k int) {
					if cut.Load() {
						return
					}
					s.read[k].Store(true)
					counted()
				})
			}
		})
	}
	loaders.Wait()
	once.Do(func() { close(cutNow) })
	<-cutDone
	for _, s := range samples[:2] {
		o.afterward += w.readSample(c, s, s.digest, nil)
	}
	if err := c.Close(); err != nil {
		w.t.Error(err)
	}
	w.kill()
	if err := disk.Unmount(); err != nil {
		w.t.Fatal(err)
	}
	if err := disk.Mount(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.start()
	c = w.dial()
	defer c.Close()
	o.durable = w.readDurable(c, samples, full)

	bad := w.metric("blobd_cache_corruptions_total")
	for _, s := range samples {
		for k := range s.files {
			if !s.read[k].Load() {
				continue
			}
			o.files++
			if w.cachedFile(c, s, k) {
				o.survived++
			}
		}
	}
	for _, s := range samples { // whatever it was, it is there now
		w.readSample(c, s, w.ref(s.name), nil)
	}
	o.torn = int(w.metric("blobd_cache_corruptions_total") - bad)
	w.t.Logf("round %d, cut after %d of %d reads: %v", round, after, total, o)
	return o
}

const contentHits = `blobd_cache_requests_total{cache="content",result="hit"}`

// prefetch brings all of an archive, and notes when that was answered before the cut.
func (w *world) prefetch(c *client.Client, s *sample, cut *atomic.Bool, counted func()) {
	_, p, err := c.Prefetch(w.t.Context(), w.ref(s.name), nil, nil)
	if err != nil || p.FilesDone != int64(len(s.files)) {
		w.t.Errorf("prefetch %s: %+v, %v", s.name, p, err)
	}
	if s.prefetched = !cut.Load() && p.FilesUnkept == 0; s.prefetched {
		for k := range s.read {
			s.read[k].Store(true)
			counted()
		}
	}
}

// readSample reads all files of an archive by this reference, tells done of each, and returns how many that were.
func (w *world) readSample(c *client.Client, s *sample, ref string, done func(k int)) int {
	for k := range s.files {
		w.readFile(c, s, ref, k)
		if done != nil {
			done(k)
		}
	}
	return len(s.files)
}

// readFile reads one file of an archive, and a part of it first, which must be right.
func (w *world) readFile(c *client.Client, s *sample, ref string, k int) {
	a, err := c.Pull(w.t.Context(), ref)
	if err != nil {
		w.t.Errorf("pull %s: %v", ref, err)
		return
	}
	f, want := s.files[k], content(s.files[k])
	middle, err := a.OpenRange(f.Path, int64(len(want)/2), 100)
	if err != nil {
		w.t.Errorf("%s %s: %v", ref, f.Path, err)
		return
	}
	defer middle.Close()
	got, err := io.ReadAll(middle)
	if half := want[len(want)/2:]; err != nil || !bytes.Equal(got, half[:min(100, len(half))]) {
		w.t.Errorf("the middle of %s %s: %d bytes, %v", ref, f.Path, len(got), err)
	}
	if got, err := a.ReadFile(f.Path); err != nil || !bytes.Equal(got, want) {
		w.t.Errorf("%s %s: %d bytes, right: %v; %v", ref, f.Path, len(got), bytes.Equal(got, want), err)
	}
}

// cachedFile reads one file of an archive, which must be right, and reports whether the content cache had it.
func (w *world) cachedFile(c *client.Client, s *sample, k int) bool {
	hits := w.metric(contentHits)
	a, err := c.Pull(w.t.Context(), s.digest)
	if err != nil {
		w.t.Errorf("pull %s: %v", s.digest, err)
		return false
	}
	if got, err := a.ReadFile(s.files[k].Path); err != nil || !bytes.Equal(got, content(s.files[k])) {
		w.t.Errorf("%s %s: %d bytes, not the right ones; %v", s.digest, s.files[k].Path, len(got), err)
	}
	return w.metric(contentHits) > hits
}

// readDurable reads, without a registry, what was answered for before the cut and so must be there; it returns how many
// files that are.
func (w *world) readDurable(c *client.Client, samples []*sample, full bool) (files int) {
	w.reg.Stop()
	for _, s := range samples {
		if !s.prefetched {
			continue
		}
		if _, err := c.Pull(w.t.Context(), s.digest); err != nil {
			w.t.Errorf("%s was prefetched before the cut and can't be pulled after it: %v", s.digest, err)
		}
		if full {
			files += w.readSample(c, s, s.digest, nil)
		}
	}
	if err := w.reg.Start(); err != nil {
		w.t.Fatal(err)
	}
	return files
}
