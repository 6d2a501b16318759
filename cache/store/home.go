package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/blobd/blobd/internal/vfs"
)

// home is a folder that this process owns, by the lock on a file in it.
type home struct {
	dir string

	mu   sync.RWMutex
	lock vfs.File // nil while the disk can't be written and there is no such file
}

// errMoved is what the observer hears when a folder was removed, or another was put in its place, under the daemon.
var errMoved = errors.New("the folder was removed or replaced by another; it is made anew and filled again")

// Owned reports whether the store's own folder is still the one that it has locked. One that was removed, or replaced, is
// made and locked anew if nobody else has it; otherwise the error says why nothing must be written there.
func (s *Store) Owned() error { return s.owned(s.homes[0]) }

func (s *Store) owned(h *home) error {
	h.mu.RLock()
	same := s.stands(h)
	h.mu.RUnlock()
	if same {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if s.stands(h) {
		return nil
	}
	if err := s.fs.MkdirAll(h.dir); err != nil {
		return err
	}
	if err := s.trusted(h.dir); err != nil {
		return err
	}
	lock, err := takeLock(s.fs, h.dir)
	if err != nil {
		return err
	}
	if h.lock != nil {
		h.lock.Close()
		s.troubleAt(h.dir, fmt.Errorf("store: %s: %w", h.dir, errMoved))
		s.moved.Store(true)
		s.wakeEvictor()
	}
	h.lock = lock
	return nil
}

// stands reports whether the lock file in the folder is the one that is locked. When the disk does not say, it is: what
// is tried next will fail. h.mu is held.
func (s *Store) stands(h *home) bool {
	if h.lock == nil {
		return false
	}
	there, err := s.fs.Lstat(filepath.Join(h.dir, lockName))
	if err != nil {
		return !isAbsent(err)
	}
	locked, err := h.lock.Stat()
	return err != nil || there.Stamp == locked.Stamp
}

// trusted asks the owner of the store about a folder.
func (s *Store) trusted(dir string) error {
	if s.opts.Trust == nil {
		return nil
	}
	return s.opts.Trust(dir)
}

// settle is what follows when a folder was removed: entries whose files went with it are forgotten.
func (s *Store) settle() {
	if !s.moved.Swap(false) {
		return
	}
	var all []ref
	s.eachLive(func(_ slot, e *entry) { all = append(all, e.ref()) })
	for _, r := range all {
		if s.stopping() {
			return
		}
		c := s.classes[r.class]
		stripe := &s.stripes[r.key.shard()]
		stripe.Lock()
		if _, err := s.fs.Lstat(c.path(r.key)); isAbsent(err) {
			s.forget(r)
		}
		stripe.Unlock()
	}
	s.countOverhead()
	for _, h := range s.homes {
		s.worksAt(h.dir)
	}
}

// tryAgain looks whether folders are still there, and whether the disks of which problems are known work again, where
// nobody asks for it by writing.
func (s *Store) tryAgain() {
	for _, h := range s.homes {
		if err := s.owned(h); err != nil {
			s.troubleAt(h.dir, err)
		} else if !s.moved.Load() {
			s.worksAt(h.dir)
		}
	}
	for _, c := range s.classes {
		s.mu.Lock()
		ill := s.problems[c.place()] != nil || s.problems[""] != nil
		s.mu.Unlock()
		if ill && c.tryWrite() == nil {
			c.works()
		}
		for n := range c.shards {
			s.mu.Lock()
			ill := s.problems[c.shardDir(uint8(n))] != nil
			s.mu.Unlock()
			if ill {
				_ = c.shardStands(uint8(n)) // the observer hears of it
			}
		}
	}
}

// tryWrite writes a page to the disk of the class and takes it away again. It is not reserved: eviction, which calls this,
// is what would have to make room for it.
func (c *Class) tryWrite() error {
	f, name, err := c.createTemp()
	if err != nil {
		return err
	}
	_, err = vfs.WriteAt(f, make([]byte, page), 0)
	c.discardTemp(f, name, 0)
	return err
}
