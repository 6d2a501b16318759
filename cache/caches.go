// Package cache is what blobd keeps on disk: five caches, each a typed view of one store, a catalogue of the artifacts
// they hold, and a tier in memory for hot small things.
//
//	folder      key → value                                             valid when              cap
//	refs/       scope + tag → digest, media type, checked at            its checksum; TTL       10 MiB
//	manifests/  digest → manifest bytes, the media type beside them     digest, JSON            50 MiB
//	indexes/    digest, or (source, deriver, version) → index bytes     digest, or a checksum   200 MiB
//	content/    digest → a whole file's uncompressed bytes              digest                  max_size
//	blocks/     digest of a blob that holds files → its blocks so far   a checksum a block      max_size; goes first
//
// Nothing here is the source of truth: whatever is lost, damaged or evicted is a miss, which costs a request upstream.
// No reader is ever handed bytes that are not what their key promises: an entry is checked when it is first opened after
// a start or after its file has changed, and a bad one is removed, counted and reported as absent. How long a tag may be
// believed (its TTL) is the caller's to decide.
//
// Everything here is safe for concurrent use. One process at a time may have a folder open.
package cache

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/vfs"
)

// Names of the caches, in configuration, metrics and messages.
const (
	NameRef      = "ref"
	NameManifest = "manifest"
	NameIndex    = "index"
	NameContent  = "content"
	NameBlock    = "block"
	NameMemory   = "memory"
)

// Folders of the caches, which are the names of their classes in the store too.
const (
	FolderRefs      = "refs"
	FolderManifests = "manifests"
	FolderIndexes   = "indexes"
	FolderContent   = "content"
	FolderBlocks    = "blocks"
)

// DefaultMaxSize is the budget of all five caches together where none is given.
const DefaultMaxSize = 10 << 30

// kind is one of the five caches as it is out of the box.
type kind struct {
	name, folder string
	size         int64 // its default cap; 0 is the whole budget
	sync, data   bool
}

// kinds lists the five caches. The three small ones are synced, since one entry of theirs opens the way to many
// megabytes; their caps hold, in blocks of 4 KiB, 2,500 tags, 12,000 manifests, and some dozens of the largest indexes.
func kinds() []kind {
	return []kind{
		{name: NameRef, folder: FolderRefs, size: 10 << 20, sync: true},
		{name: NameManifest, folder: FolderManifests, size: 50 << 20, sync: true},
		{name: NameIndex, folder: FolderIndexes, size: 200 << 20, sync: true},
		{name: NameContent, folder: FolderContent, data: true},
		{name: NameBlock, folder: FolderBlocks, data: true},
	}
}

// Folder returns the folder, which is the store's class too, of the cache called name; "" where there is none.
func Folder(name string) string {
	for _, k := range kinds() {
		if k.name == name {
			return k.folder
		}
	}
	return ""
}

// Name returns the name of the cache in folder; "" where there is none.
func Name(folder string) string {
	for _, k := range kinds() {
		if k.folder == folder {
			return k.name
		}
	}
	return ""
}

// Options say where the caches are and how much they may hold. Sizes are bytes.
type Options struct {
	Dir          string            // holds the five folders, the catalogue, and the store's own files
	MaxSize      int64             // of all five together, as allocated on disk; 0 is DefaultMaxSize
	MinFree      int64             // to be left free on each disk; < 0: 5 % of the disk, at most 2 GiB
	Caches       map[string]Config // by name: ref, manifest, index, content, block; what is absent has the defaults
	MemorySize   int64             // of the memory tier; 0 switches it off, < 0 is DefaultMemorySize
	VerifyAlways bool              // check entries at every read
	SyncAll      bool              // fsync content and blocks too
	Observer     store.Observer    // hears of evictions, corruptions and a disk that refuses; may be nil
	FS           vfs.FS            // nil is the operating system's
	Now          func() time.Time  // nil is time.Now
	// Trust says why a folder that is there must not be used; nil trusts all.
	Trust func(dir string) error
}

// Config moves, sizes or switches off one cache.
type Config struct {
	Dir  string // "" is the cache's folder below Options.Dir
	Size int64  // its cap; 0 is the default
	Off  bool   // nothing is found, nothing is kept
}

// Caches are the open caches of one folder.
type Caches struct {
	Refs      *Refs
	Manifests *Manifests
	Indexes   *Indexes
	Content   *Content
	Blocks    *Blocks
	Catalogue *Catalogue
	Memory    *Memory
	Store     *store.Store

	pins    pins
	reports *reports
}

// Open opens the caches in opts.Dir, and makes the folder where there is none. It serves at once: what is on disk is
// scanned behind. What the catalogue says is pinned is so before anything can be evicted. A folder that another process
// has open fails with a *store.LockedError; a damaged or unwritable catalogue does not fail, and a disk that refuses
// writes is told to the observer.
func Open(opts Options) (*Caches, error) {
	for name := range opts.Caches {
		if Folder(name) == "" {
			return nil, fault.New(fault.InvalidArgument, "there is no cache called %q", name).
				Try("the caches are ref, manifest, index, content and block")
		}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.FS == nil {
		opts.FS = vfs.OS()
	}
	memory, err := NewMemory(opts.MemorySize)
	if err != nil {
		return nil, err
	}
	reports := &reports{to: opts.Observer}
	s, err := store.Open(opts.store(reports))
	if err != nil {
		memory.Close()
		return nil, err
	}
	// Only now the folder is ours: who had it wrote down the last of the catalogue at its very end.
	catalogue := readCatalogue(opts.FS, opts.Dir, opts.Now, reports.catalogue, defaultBounds())
	catalogue.owned = s.Owned
	c := &Caches{Catalogue: catalogue, Memory: memory, Store: s, pins: newPins(), reports: reports}
	c.Refs = &Refs{s.Class(FolderRefs)}
	c.Manifests = &Manifests{s.Class(FolderManifests)}
	c.Indexes = &Indexes{s.Class(FolderIndexes)}
	c.Content = &Content{s.Class(FolderContent)}
	c.Blocks = &Blocks{s.Class(FolderBlocks)}
	c.restorePins()
	s.StartEviction()
	catalogue.start()
	return c, nil
}

// store translates the options for the store.
func (o Options) store(observer store.Observer) store.Options {
	so := store.Options{
		Dir: o.Dir, MaxSize: o.maxSize(), MinFree: o.MinFree, VerifyAlways: o.VerifyAlways, SyncAll: o.SyncAll,
		FS: o.FS, Observer: observer, Now: o.Now, Trust: o.Trust,
	}
	for _, k := range kinds() {
		conf := o.Caches[k.name]
		so.Classes = append(so.Classes, store.ClassOptions{
			Name: k.folder, Dir: conf.Dir, Cap: o.cap(k), Off: conf.Off, Sync: k.sync, Data: k.data,
		})
	}
	return so
}

func (o Options) maxSize() int64 {
	if o.MaxSize == 0 {
		return DefaultMaxSize
	}
	return o.MaxSize
}

func (o Options) cap(k kind) int64 {
	if size := o.Caches[k.name].Size; size > 0 {
		return size
	}
	return k.size
}

// SetLimits takes the sizes (MaxSize, MinFree, the caches' Size, MemorySize) from opts, and nothing else. What is then
// too much is evicted behind.
func (c *Caches) SetLimits(opts Options) {
	caps := make(map[string]int64)
	for _, k := range kinds() {
		caps[k.folder] = opts.cap(k)
	}
	c.Store.SetLimits(opts.maxSize(), opts.MinFree, caps)
	c.Memory.SetLimit(opts.MemorySize)
}

// Problem returns what the disk refuses now, to the store or to the catalogue; nil while it refuses nothing. It is what
// the observer heard last.
func (c *Caches) Problem() error { return c.reports.current() }

// Clear empties the named caches ("memory" is one too), or all of them when none is named, but for what is pinned or in
// use, and says how much that is. With the manifests, the artifacts that have none now leave the catalogue. The memory
// tier stands for the others, so it is emptied whichever is named.
func (c *Caches) Clear(ctx context.Context, names []string) (store.Report, error) {
	var folders []string
	for _, name := range names {
		if name == NameMemory {
			continue
		}
		folder := Folder(name)
		if folder == "" {
			return store.Report{}, fault.New(fault.InvalidArgument, "there is no cache called %q", name).
				Try("the caches are ref, manifest, index, content, block and memory")
		}
		folders = append(folders, folder)
	}
	if len(names) == 0 {
		for _, k := range kinds() {
			folders = append(folders, k.folder)
		}
	}
	c.Memory.Clear()
	if len(folders) == 0 {
		return store.Report{Bytes: c.Store.Usage().Bytes}, nil
	}
	report, err := c.Store.Clear(ctx, folders)
	if slices.Contains(folders, FolderManifests) {
		for _, a := range c.Catalogue.All() {
			if !a.Pinned && !c.Manifests.Contains(a.Digest) {
				err = errors.Join(err, c.Catalogue.Forget(a.Registry, a.Repository, a.Digest))
			}
		}
	}
	c.Memory.Clear() // what was read meanwhile
	return report, err
}

// Close writes down what the catalogue has not yet, and closes the store, which gives the folder back. Nothing may be
// used afterwards.
func (c *Caches) Close() error {
	err := c.Catalogue.close()
	c.Memory.Close()
	return errors.Join(err, c.Store.Close())
}
