package store

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

// start loads what the last process left, and then looks at every file. The store serves meanwhile.
func (s *Store) start() {
	defer close(s.scanned)
	info := s.loadSnapshot()
	crashed := s.journal.load(info.generation)
	s.mu.Lock()
	known := s.x.count > 0
	s.mu.Unlock()
	if known {
		s.sortLists()
	}
	s.foreign.Store(info.foreign)
	s.findShards()
	if err := s.journal.begin(); err != nil {
		s.trouble(err)
		// Without a journal the next start would take this one's end for a clean one.
		_ = s.fs.Remove(filepath.Join(s.opts.Dir, snapshotName))
	}
	s.countOverhead()
	close(s.loaded)
	clean := info.clean && !crashed && !s.stopping()
	if clean {
		s.mu.Lock()
		s.trustSize = true
		s.mu.Unlock()
		close(s.admit)
	}
	s.workers.Go(s.keeper)
	whole := s.scan()
	s.mu.Lock()
	s.scanning = false
	s.trustSize = s.trustSize || whole
	s.mu.Unlock()
	if !clean {
		close(s.admit)
	}
	s.countOverhead()
	s.wakeEvictor()
	if !whole {
		s.workers.Go(s.rescan)
	}
}

// rescanFirst is how long what could not be read at start is left alone before it is tried again, so that a disk that comes
// back is counted within a minute; each time that is twice as long, up to rescanMost, since looking at a million files
// takes seconds, and a folder that nobody may read stays one.
const (
	rescanFirst = 30 * time.Second
	rescanMost  = 10 * time.Minute
)

// rescan scans until a scan gets to the end: before that the budget does not know all that is there.
func (s *Store) rescan() {
	for pause := rescanFirst; ; pause = min(2*pause, rescanMost) {
		select {
		case <-time.After(pause):
		case <-s.quit:
			return
		}
		s.findShards()
		if !s.scan() {
			continue
		}
		s.mu.Lock()
		s.trustSize = true
		s.mu.Unlock()
		s.countOverhead()
		s.wakeEvictor()
		return
	}
}

func (s *Store) stopping() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// findShards learns which shard folders there are and what they take.
func (s *Store) findShards() {
	for _, c := range s.classes {
		shards, _, err := c.readShards()
		s.readable(err)
		for _, n := range shards {
			stripe := &s.stripes[n]
			stripe.Lock()
			c.enterShard(n)
			stripe.Unlock()
		}
	}
}

// readShards returns the shard folders of a class, and the names of what else is in its folder.
func (c *Class) readShards() (shards []uint8, others []string, err error) {
	err = c.s.fs.ReadDir(c.dir, func(name string) error {
		if n, ok := parseShard(name); ok {
			shards = append(shards, n)
		} else if name != tempName {
			others = append(others, name)
		}
		return nil
	})
	return shards, others, err
}

// scan looks at every file of every class: adds those that are not known, corrects the sizes of those that are, forgets
// those that have no file. It reports whether it got to the end.
func (s *Store) scan() bool {
	whole, found := true, false
	var foreign int64
	for _, c := range s.classes {
		ok, more, bytes := c.scan()
		whole = whole && ok
		found = found || more
		foreign += bytes
	}
	if found && !s.stopping() {
		s.sortLists()
	}
	if whole {
		s.foreign.Store(foreign)
	}
	return whole
}

var errStopping = errors.New("store: stopping")

// scan looks at the files of one class; found says whether some were not known, foreign is what others take there.
func (c *Class) scan() (whole, found bool, foreign int64) {
	s := c.s
	shards, others, err := c.readShards()
	whole = s.readable(err)
	for _, name := range others {
		foreign += s.lstatBytes(filepath.Join(c.dir, name))
	}
	for _, n := range shards {
		dir := c.shardDir(n)
		if c.shardStands(n) != nil {
			foreign += s.lstatBytes(dir)
			continue
		}
		var names []string
		err := s.fs.ReadDir(dir, func(name string) error {
			if s.stopping() {
				return errStopping
			}
			names = append(names, name)
			return nil
		})
		whole = whole && s.readable(err)
		for _, name := range names {
			if s.stopping() {
				return false, found, foreign
			}
			key, ok := parseKey(name)
			if !ok || key.shard() != n {
				foreign += s.lstatBytes(filepath.Join(dir, name))
				continue
			}
			added, other, err := c.adopt(key, true)
			whole = whole && s.readable(err)
			found = found || added
			foreign += other
		}
	}
	if whole {
		c.forgetUnseen()
		s.mu.Lock()
		c.found = true
		s.mu.Unlock()
	}
	return whole, found, foreign
}

// readable reports whether a folder could be read to its end; one that is not there is empty.
func (s *Store) readable(err error) bool {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if !errors.Is(err, errStopping) {
		s.trouble(err)
	}
	return false
}

func parseShard(name string) (uint8, bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != 1 || name != hex.EncodeToString(b) {
		return 0, false
	}
	return b[0], true
}

func (s *Store) lstatBytes(path string) int64 {
	in, err := s.fs.Lstat(path)
	if err != nil {
		return 0
	}
	if in.Dir {
		return in.Allocated + s.treeBytes(path, nil, foreignDepth)
	}
	return in.Allocated
}

// adopt looks at the file of a key and makes it an entry if it is one: the coldest but for its mtime, as no more is known
// of when it was read. In a class that is off it is removed. found says that it was not known; foreign is what the disk
// gives up for something else of that name. The error says that there may be a file that can't be looked at.
func (c *Class) adopt(key Key, scanning bool) (found bool, foreign int64, err error) {
	s, r := c.s, ref{key, c.id}
	stripe := &s.stripes[key.shard()]
	stripe.Lock()
	defer stripe.Unlock()
	if !scanning && c.shardStands(key.shard()) != nil { // the scan has looked
		return false, 0, nil
	}
	in, err := s.fs.Lstat(c.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	if !in.Regular {
		return false, in.Allocated, nil
	}
	s.mu.Lock()
	at := s.x.find(r)
	if at == 0 {
		found = true
		at = s.x.insert(r)
		c.entries++
		c.shards[key.shard()].files++
		s.x.at(at).stamp = min(in.ModTime.UnixNano(), s.newStamp()) // a file may be from the future
		s.pushBack(&c.list, at)
		s.markDirty(at)
	}
	s.x.at(at).clear(flagUnseen)
	s.resize(at, in.Allocated)
	s.mu.Unlock()
	if c.off && scanning {
		_, _ = s.dropLocked(r, ReasonRemoved, true)
	}
	return found, 0, nil
}

// look is adopt for who asks for the entry.
func (c *Class) look(key Key) {
	if _, _, err := c.adopt(key, false); err != nil {
		c.trouble(err)
	}
}

// forgetUnseen forgets the entries of a class that only the snapshot knows: the scan has not met their files.
func (c *Class) forgetUnseen() {
	s := c.s
	var unseen []Key
	s.eachLive(func(_ slot, e *entry) {
		if e.class == c.id && e.has(flagUnseen) {
			unseen = append(unseen, e.key())
		}
	})
	for _, key := range unseen {
		if s.stopping() {
			return
		}
		if _, other, err := c.adopt(key, false); err == nil && (other > 0 || c.vanished(key)) {
			stripe := &s.stripes[key.shard()]
			stripe.Lock()
			if _, err := s.fs.Lstat(c.path(key)); errors.Is(err, fs.ErrNotExist) || err == nil && other > 0 {
				s.forget(ref{key, c.id})
			}
			stripe.Unlock()
		}
	}
}

// vanished reports whether the entry of that key is still one that only the snapshot knows.
func (c *Class) vanished(key Key) bool {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.x.find(ref{key, c.id})
	return at != 0 && s.x.at(at).has(flagUnseen)
}
