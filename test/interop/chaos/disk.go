package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/vfs"
	"github.com/blobd/blobd/test/interop/rig"
)

// disk is what becomes of the cache folder beside what the daemon does there. Its methods are for one goroutine, but for
// use.
type disk struct {
	dir    string
	own    bool // dir is a disk of its own, which may be filled up
	cache  string
	daemon *daemon
	blame  *blame
	events *events
	rng    *rand.Rand

	fullest atomic.Int64 // the largest share of the budget that was taken, in 1/1000
}

// newDisk makes a place for the cache folder below dir: a disk of its own where that can be.
func newDisk(dir string, d *daemon, b *blame, e *events, rng *rand.Rand) (*disk, error) {
	k := &disk{dir: filepath.Join(dir, "disk"), daemon: d, blame: b, events: e, rng: rng}
	k.cache = filepath.Join(k.dir, "cache")
	if err := os.Mkdir(k.dir, 0o700); err != nil {
		return nil, err
	}
	own, err := mount(k.dir)
	k.own = own
	return k, err
}

// close removes it.
func (k *disk) close() error {
	var err error
	if k.own {
		err = unmount(k.dir)
	}
	return errors.Join(err, os.RemoveAll(k.dir))
}

const (
	// damageEvery and starveEvery are averages.
	damageEvery = 700 * time.Millisecond
	starveEvery = 9 * time.Second
	starveLasts = 2 * time.Second
)

// damage has files changed by somebody else until ctx ends.
func (k *disk) damage(ctx context.Context) error {
	for sleep(ctx, k.rng, damageEvery) {
		files, err := k.files()
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		name := files[k.rng.IntN(len(files))]
		how := hurts[k.rng.IntN(len(hurts))]
		err = how.do(k.rng, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnhurt) || vfs.IsDiskTrouble(err) {
			continue
		}
		if err != nil {
			return err
		}
		k.blame.counted(how.cause)
		k.events.note("%s: %s", how.cause, name)
	}
	return nil
}

// files are those in the cache folder, but for the lock: who removes that asks for two daemons.
func (k *disk) files() (names []string, err error) {
	err = filepath.WalkDir(k.cache, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err == nil && d.Type().IsRegular() && d.Name() != lockName {
			names = append(names, path)
		}
		return err
	})
	return names, err
}

// lockName is the file that a daemon locks its cache folder by.
const lockName = "LOCK"

// errUnhurt: the file was of no use for that.
var errUnhurt = errors.New("nothing done")

// hurts are the ways in which a file is damaged. None makes it take more of the disk: that would be chaos breaking the
// daemon's budget.
var hurts = []struct {
	cause cause
	do    func(rng *rand.Rand, name string) error
}{
	{flipped, func(rng *rand.Rand, name string) error {
		return inPlace(name, func(f *os.File, size int64) error {
			at := rng.Int64N(size)
			var b [1]byte
			if _, err := f.ReadAt(b[:], at); err != nil {
				return err
			}
			if b[0] == 0 {
				return errUnhurt // perhaps a hole, which would be filled
			}
			b[0] ^= 1 << rng.IntN(8)
			_, err := f.WriteAt(b[:], at)
			return err
		})
	}},
	{truncated, func(rng *rand.Rand, name string) error {
		return inPlace(name, func(f *os.File, size int64) error { return f.Truncate(rng.Int64N(size)) })
	}},
	{rewritten, func(rng *rand.Rand, name string) error {
		return inPlace(name, func(f *os.File, size int64) error {
			rubbish := make([]byte, min(size, 1+rng.Int64N(4096)))
			for i := range rubbish {
				rubbish[i] = byte(rng.Uint32())
			}
			if err := f.Truncate(0); err != nil {
				return err
			}
			_, err := f.WriteAt(rubbish, 0)
			return err
		})
	}},
	{deleted, func(_ *rand.Rand, name string) error { return os.Remove(name) }},
}

// inPlace opens a file, which may be read-only, and has change do its work there.
func inPlace(name string, change func(f *os.File, size int64) error) (err error) {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(name, info.Mode()|0o600); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err = f.Stat(); err != nil || info.Size() == 0 {
		return errors.Join(errUnhurt, err)
	}
	if err := change(f, info.Size()); !errors.Is(err, io.EOF) { // it was cut meanwhile
		return err
	}
	return errUnhurt
}

// starve leaves the daemon without a disk to write to now and then, until ctx ends.
func (k *disk) starve(ctx context.Context) error {
	for sleep(ctx, k.rng, starveEvery) {
		ways := []starvation{{noFree, k.demandFree}, {noSize, k.demandLittle}}
		if k.own {
			ways = append(ways, starvation{noSpace, k.fillUp}, starvation{noSpace, k.fillUp}, starvation{noInodes, k.useInodes})
		}
		way := ways[k.rng.IntN(len(ways))]
		k.blame.begins(way.cause, time.Now())
		k.events.note("the disk starves: %s", way.cause)
		feed, err := way.begin()
		if err == nil {
			sleep(ctx, k.rng, starveLasts)
			err = feed()
		}
		k.blame.ends(way.cause, time.Now())
		k.events.note("the disk is well")
		if err != nil {
			return fmt.Errorf("%s: %w", way.cause, err)
		}
	}
	return nil
}

// starvation is a way to have no room; begin returns what ends it.
type starvation struct {
	cause cause
	begin func() (end func() error, err error)
}

// fillUp fills the disk up to some pages.
func (k *disk) fillUp() (func() error, error) {
	name := filepath.Join(k.dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	chunk := make([]byte, 256<<10)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if vfs.IsDiskTrouble(err) {
		err = nil
	}
	if spare := k.rng.Int64N(3) * (32 << 10); spare > 0 && err == nil {
		if at, seekErr := f.Seek(0, io.SeekCurrent); seekErr == nil {
			err = f.Truncate(max(0, at-spare))
		}
	}
	return func() error { return os.Remove(name) }, errors.Join(err, f.Close())
}

// useInodes makes files until the disk takes no more.
func (k *disk) useInodes() (func() error, error) {
	dir := filepath.Join(k.dir, "many")
	err := os.Mkdir(dir, 0o700)
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600)
	}
	if vfs.IsDiskTrouble(err) {
		err = nil
	}
	return func() error { return os.RemoveAll(dir) }, err
}

// demandFree and demandLittle have the daemon's limits leave no room.
func (k *disk) demandFree() (func() error, error) {
	return k.demand(func(l *limits) { l.minFree = 1 << 50 })
}

func (k *disk) demandLittle() (func() error, error) {
	return k.demand(func(l *limits) { l.maxSize = mib })
}

func (k *disk) demand(change func(*limits)) (func() error, error) {
	before := k.daemon.settings.now()
	l := before
	change(&l)
	return func() error { return k.daemon.tell(before) }, k.daemon.tell(l)
}

// use watches the disk use of the cache folder until ctx ends: it stays below what the limits allow.
func (k *disk) use(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		began := time.Now()
		used, files, err := rig.DiskUse(k.cache)
		if err != nil {
			return err
		}
		limit := k.daemon.settings.most(func(l limits) int64 { return l.maxSize }, began.Add(-settling), time.Now())
		if used > limit {
			return fmt.Errorf("the cache folder takes %d bytes in %d files, %d more than its limit", used, files, used-limit)
		}
		k.fullest.Store(max(k.fullest.Load(), 1000*used/limit))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
