package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/vfs"
)

// Options says what a store keeps, and where.
type Options struct {
	Dir          string // lock, journal and snapshot; and the classes' folders unless they name their own
	MaxSize      int64  // bytes of disk in all; the store needs some 100 KiB for itself, and 1 MiB to be of use
	MinFree      int64  // bytes to leave free on each disk; < 0: 5 % of the disk, at most 2 GiB
	Classes      []ClassOptions
	VerifyAlways bool             // check objects on every Open, not only the first since start and since the file changed
	SyncAll      bool             // every class as if Sync were set
	FS           vfs.FS           // nil: the operating system's
	Observer     Observer         // nil: none
	Now          func() time.Time // nil: time.Now
	// Trust says why a folder that is there must not be used; nil trusts all.
	Trust func(dir string) error
}

// ClassOptions describes one class of entries.
type ClassOptions struct {
	Name string
	Dir  string // "": the folder Name in Options.Dir
	Cap  int64  // bytes; 0: MaxSize
	Off  bool   // nothing is found and nothing kept; entries of former days are removed
	Sync bool   // file and folder are synced before an entry is visible
	Data bool   // bulk data: gives way first when the total is short; the rest only when no data is left to evict
}

// FlushEvery is the longest time that a change of recency is kept in memory only: what kill -9 can lose. Less would
// write more often for an order that hardly changes in seconds.
const FlushEvery = 10 * time.Second

// Store is a set of classes under one budget. See the package comment for what it promises.
//
// Lock order: a stripe, then a partial's mu, then telling, then Store.mu, which is never held during a call to the file
// system, but for asking how full a disk is. At most one stripe is held at a time, and no room is waited for while it
// is.
type Store struct {
	opts    Options
	fs      vfs.FS
	obs     Observer
	now     func() time.Time
	homes   []*home // Dir, and the folders of the classes that have their own
	classes []*Class
	disks   []*disk
	temps   atomic.Uint64 // numbers temporary files; begins anywhere, so that two stores in turn don't use the same

	// A stripe orders what happens to the names in the shard folders of one number: publish, adopt, unlink.
	stripes [256]sync.Mutex

	loaded   chan struct{} // closed when snapshot and journal are in the index
	admit    chan struct{} // closed when it is known what fits
	scanned  chan struct{} // closed when the scan is over
	quit     chan struct{} // closed by Close
	evicting chan struct{} // closed by StartEviction
	wake     chan struct{} // to the evictor: there may be work
	dirty    chan struct{} // to the keeper: there is something to flush
	workers  sync.WaitGroup

	// telling is held while the observer hears of a problem or its end, so that it hears of the latest last.
	telling sync.Mutex

	startEviction sync.Once
	journal       *journal // the keeper's, and the starter's before it
	foreign       atomic.Int64
	moved         atomic.Bool // a folder was removed or replaced; what went with it is not forgotten yet

	mu        sync.Mutex // guards what follows, and the fields of Class and disk that say so
	x         index
	open      map[ref]*handle
	pins      map[ref]int32
	leases    map[ref]map[string]time.Time
	changed   []slot // entries that the journal does not know
	maxSize   int64
	minFree   int64
	used      int64 // bytes of entries, temporary files, and removed files that are still open
	reserved  int64 // bytes promised to writers
	overhead  int64 // bytes of all else: folders, foreign files, journal, snapshot, lock
	notes     notes // the part of overhead that is journal and snapshot
	beside    int64 // the part of overhead that is files of others in Dir itself
	stuck     int64 // the part of overhead that is temporary files that could not be removed
	counted   time.Time
	demands   []*demand
	problems  map[string]error // by place: see observer.go
	scanning  bool
	closed    bool
	trustSize bool // the snapshot had a clean mark
}

// notes are the bytes that the disk gives up for the keeper's files.
type notes struct{ journal, snapshot int64 }

// Class is a set of entries with one cap.
type Class struct {
	s    *Store
	id   uint8
	tag  uint16 // names the class in journal and snapshot
	name string
	dir  string
	home *home
	off  bool
	sync bool
	data bool
	disk *disk

	// Guarded by Store.mu, but for what shard says.
	list     list
	cap      int64 // as configured
	limit    int64 // as in force
	used     int64 // bytes of entries, temporary files, and removed files that are still open
	filed    int64 // the part of used that is entries
	reserved int64 // bytes promised to writers
	entries  int64
	found    bool // the scan has been through the class
	shards   [256]shard
}

// shard is what is known of one shard folder.
type shard struct {
	made  bool  // the folder is there; guarded by the stripe
	files int32 // entries in it; guarded by Store.mu, as is alloc
	alloc int64 // what the folder itself takes
}

// Open makes what folders are missing, takes the locks of opts.Dir and of the classes' own folders, removes temporary
// files, and returns; entries are loaded and counted behind. The error is a *LockedError when another process has a lock,
// and names the folder when one can't be made. A disk that can't be written now is no error.
func Open(opts Options) (*Store, error) {
	s, err := newStore(opts)
	if err != nil {
		return nil, err
	}
	if err := s.makeFolders(); err != nil {
		return nil, err
	}
	if err := s.takeLocks(); err != nil {
		return nil, err
	}
	s.sweepTemps()
	s.countOverhead()
	s.workers.Go(s.start)
	s.workers.Go(s.evictor)
	return s, nil
}

func newStore(opts Options) (*Store, error) {
	if opts.MaxSize <= 0 {
		return nil, fmt.Errorf("store: max size is %d bytes; it must be more than 0", opts.MaxSize)
	}
	s := &Store{
		opts: opts, fs: opts.FS, obs: opts.Observer, now: opts.Now,
		loaded: make(chan struct{}), admit: make(chan struct{}), scanned: make(chan struct{}),
		quit: make(chan struct{}), evicting: make(chan struct{}),
		wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		x: newIndex(), open: map[ref]*handle{}, pins: map[ref]int32{}, leases: map[ref]map[string]time.Time{},
		problems: map[string]error{},
		maxSize:  opts.MaxSize, minFree: opts.MinFree, scanning: true,
	}
	if s.fs == nil {
		s.fs = vfs.OS()
	}
	if s.obs == nil {
		s.obs = noObserver{}
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.homes = []*home{{dir: opts.Dir}}
	for i, co := range opts.Classes {
		c := &Class{home: s.homes[0], s: s, id: uint8(i), tag: classTag(co.Name), name: co.Name, dir: co.Dir, off: co.Off, data: co.Data,
			sync: co.Sync || opts.SyncAll, cap: co.Cap}
		if c.dir == "" {
			c.dir = filepath.Join(opts.Dir, co.Name)
		} else {
			c.home = &home{dir: c.dir}
			s.homes = append(s.homes, c.home)
		}
		for _, other := range s.classes {
			if other.tag == c.tag {
				return nil, fmt.Errorf("store: classes %q and %q can't be told apart; rename one", other.name, c.name)
			}
		}
		s.classes = append(s.classes, c)
	}
	s.temps.Store(rand.Uint64())
	s.journal = newJournal(s)
	s.applyLimits()
	return s, nil
}

// makeFolders makes the folders and finds out which disk each is on. Only Dir has to be there when the disk refuses.
func (s *Store) makeFolders() error {
	if err := s.fs.MkdirAll(s.opts.Dir); err != nil {
		return fmt.Errorf("store: can't make the folder %s: %w", s.opts.Dir, err)
	}
	if err := s.trusted(s.opts.Dir); err != nil {
		return err
	}
	for _, c := range s.classes {
		if err := s.fs.MkdirAll(c.tempDir()); err != nil {
			if !vfs.IsDiskTrouble(err) {
				return fmt.Errorf("store: can't make the folder %s: %w", c.tempDir(), err)
			}
			s.trouble(err)
		}
		for _, dir := range []string{c.dir, c.tempDir()} {
			if err := s.trusted(dir); err != nil {
				return err
			}
		}
		c.disk = s.diskOf(c.dir)
	}
	return nil
}

// StartEviction lets eviction begin. Call it once all pins are set; without it a full store refuses to take more.
func (s *Store) StartEviction() {
	s.startEviction.Do(func() { close(s.evicting) })
}

// Close writes the snapshot with the clean mark and gives the lock back. Objects and partials that are still open can
// be read and must be closed; writers that have not committed fail.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.quit)
	for i := range s.stripes {
		s.stripes[i].Lock()
		//lint:ignore SA2001 a barrier: who saw the store open ends what it does to the folders
		s.stripes[i].Unlock()
	}
	s.workers.Wait()
	return errors.Join(s.writeCleanMark(), s.giveLocksBack())
}

// Class returns the class of that name, and panics when the options have none.
func (s *Store) Class(name string) *Class {
	for _, c := range s.classes {
		if c.name == name {
			return c
		}
	}
	panic("store: no class " + name)
}

// Name returns the class's name.
func (c *Class) Name() string { return c.name }

// Scanned returns a channel that is closed when the scan at start is over (or was ended by Close).
func (s *Store) Scanned() <-chan struct{} { return s.scanned }

// waitScanned waits for the end of the scan.
func (s *Store) waitScanned(ctx context.Context) error {
	select {
	case <-s.scanned:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}
