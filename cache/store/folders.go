package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/blobd/blobd/internal/vfs"
)

const (
	// tempName is the folder of a class that no reader looks in.
	tempName = "tmp"
	// overheadAge is how long a count of the files beside the entries is good.
	overheadAge = time.Second
	// foreignDepth is how deep foreign folders in Dir are counted.
	foreignDepth = 3
)

func (c *Class) tempDir() string { return filepath.Join(c.dir, tempName) }

// createTemp makes a file that no reader looks at.
func (c *Class) createTemp() (vfs.File, string, error) {
	if err := c.s.owned(c.home); err != nil {
		return nil, "", err
	}
	name := filepath.Join(c.tempDir(), strconv.FormatUint(c.s.temps.Add(1), 10))
	f, err := c.s.fs.Create(name)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the folder, or it could not be made at start
		if err = c.s.fs.MkdirAll(c.tempDir()); err == nil {
			f, err = c.s.fs.Create(name)
		}
	}
	return f, name, err
}

// discardTemp closes and removes a temporary file that takes used bytes, and gives them back.
func (c *Class) discardTemp(f vfs.File, name string, used int64) {
	s := c.s
	f.Close()
	err := s.fs.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	s.mu.Lock()
	s.charge(c, -used)
	if err != nil { // it is there until the next start
		s.stuck += used
		s.overhead += used
	}
	s.mu.Unlock()
	if err != nil {
		c.trouble(err)
	}
}

// sweepTemps removes what a crash left in the temporary folders, and of a snapshot.
func (s *Store) sweepTemps() {
	_ = s.fs.Remove(filepath.Join(s.opts.Dir, snapshotTemp))
	for _, c := range s.classes {
		dir := c.tempDir()
		var names []string
		_ = s.fs.ReadDir(dir, func(name string) error {
			names = append(names, name)
			return nil
		})
		for _, name := range names {
			path := filepath.Join(dir, name)
			in, _ := s.fs.Lstat(path)
			if in.Dir {
				continue
			}
			if err := s.fs.Remove(path); err != nil {
				s.stuck += in.Allocated
				s.trouble(err)
			}
		}
	}
}

// publish gives the temporary file its name, where readers find it. The key's stripe is held.
func (c *Class) publish(temp string, k Key) error {
	if err := c.shardStands(k.shard()); err != nil {
		return err
	}
	sh := &c.shards[k.shard()]
	dir, path := c.shardDir(k.shard()), c.path(k)
	err := fs.ErrNotExist
	if sh.made {
		err = c.s.fs.Rename(temp, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = c.makeShard(dir); err == nil {
			err = c.s.fs.Rename(temp, path)
		}
	}
	if err != nil {
		return err
	}
	c.enterShard(k.shard())
	return nil
}

func (c *Class) makeShard(dir string) error {
	if err := c.s.fs.MkdirAll(dir); err != nil || !c.sync {
		return err
	}
	return c.s.fs.SyncDir(c.dir)
}

// errNotFolder: nothing is read, written or removed behind it.
var errNotFolder = errors.New("not a folder, but a link or something else that is not the cache's; remove it")

// shardStands reports, to the observer too, that something else stands in the place of a shard folder. One that is absent
// is no error.
func (c *Class) shardStands(n uint8) error {
	dir := c.shardDir(n)
	in, err := c.s.fs.Lstat(dir)
	if err != nil || in.Dir {
		c.s.worksAt(dir)
		return nil
	}
	err = fmt.Errorf("store: %s: %w", dir, errNotFolder)
	c.s.troubleAt(dir, err)
	return err
}

// enterShard counts a file that came into a shard folder, and what the folder takes now. Its stripe is held.
func (c *Class) enterShard(n uint8) {
	if in, err := c.s.fs.Lstat(c.shardDir(n)); err == nil && in.Dir {
		c.shards[n].made = true
		c.setShardBytes(n, in.Allocated)
	}
}

// leaveShard removes the shard folder when the class has no entry in it any more. Its stripe is held.
func (c *Class) leaveShard(n uint8) {
	c.s.mu.Lock()
	files := c.shards[n].files
	c.s.mu.Unlock()
	if files > 0 || c.shardStands(n) != nil {
		return
	}
	if err := c.s.fs.Remove(c.shardDir(n)); err == nil || errors.Is(err, fs.ErrNotExist) {
		c.shards[n].made = false
		c.setShardBytes(n, 0)
	}
}

func (c *Class) setShardBytes(n uint8, bytes int64) {
	s := c.s
	s.mu.Lock()
	s.overhead += bytes - c.shards[n].alloc
	c.shards[n].alloc = bytes
	s.mu.Unlock()
}

// countOverhead counts anew what the store's folders take beside entries and shard folders: lock, journal, snapshot, and
// what others keep in Dir (the catalogue).
func (s *Store) countOverhead() {
	own := map[string]bool{}
	var total int64
	count := func(dir string) {
		if in, err := s.fs.Lstat(dir); err == nil {
			total += in.Allocated
		}
	}
	for _, c := range s.classes {
		own[filepath.Clean(c.dir)] = true
		count(c.dir)
		count(c.tempDir())
	}
	count(s.opts.Dir)
	note := func(name string) int64 {
		path := filepath.Join(s.opts.Dir, name)
		own[path] = true
		in, _ := s.fs.Lstat(path)
		return in.Allocated
	}
	note(snapshotTemp) // counts while it is written, and not as a foreign file: see level
	notes := notes{note(journalName), note(snapshotName)}
	beside := s.treeBytes(s.opts.Dir, own, 0)
	total += s.treeBytes(s.opts.Dir, own, foreignDepth) + s.foreign.Load() + notes.journal + notes.snapshot
	s.mu.Lock()
	defer s.mu.Unlock()
	total += s.stuck
	for _, c := range s.classes {
		for i := range c.shards {
			total += c.shards[i].alloc
		}
	}
	s.overhead, s.notes, s.beside, s.counted = total, notes, beside, s.now()
}

// treeBytes is what the things in dir take, without the folders in skip.
func (s *Store) treeBytes(dir string, skip map[string]bool, depth int) int64 {
	var total int64
	_ = s.fs.ReadDir(dir, func(name string) error {
		path := filepath.Join(dir, name)
		if skip[path] {
			return nil
		}
		in, err := s.fs.Lstat(path)
		if err != nil {
			return nil
		}
		total += in.Allocated
		if in.Dir && depth > 0 {
			total += s.treeBytes(path, skip, depth-1)
		}
		return nil
	})
	return total
}
