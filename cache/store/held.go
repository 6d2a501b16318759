package store

import (
	"iter"
	"time"
)

// handle stands for one file that is open, however many have it open. While its refs are not 0 the file is left alone;
// when it is removed nevertheless (replaced, or found bad), its bytes count until the last has closed it.
type handle struct {
	ref   ref
	refs  int
	gone  bool          // the file has no name any more; the handle is no longer in Store.open
	alloc int64         // what the file takes, once it is gone
	part  *partialState // for partials
}

// Why Report and Usage say that an entry was left alone.
const (
	KeptPinned = "pinned"
	KeptInUse  = "in use"
	KeptError  = "error"
)

// held says why an entry must be left alone; "" when it need not be. Called with mu held.
func (s *Store) held(r ref) string {
	switch {
	case s.pins[r] > 0:
		return KeptPinned
	case s.open[r] != nil || s.leased(r):
		return KeptInUse
	}
	return ""
}

// heldEntries gives each key that is pinned, open or leased once. Called with mu held.
func (s *Store) heldEntries() iter.Seq[ref] {
	return func(yield func(ref) bool) {
		for r := range s.pins {
			if !yield(r) {
				return
			}
		}
		for r := range s.open {
			if s.pins[r] == 0 && !yield(r) {
				return
			}
		}
		for r := range s.leases {
			if s.pins[r] == 0 && s.open[r] == nil && s.leased(r) && !yield(r) {
				return
			}
		}
	}
}

// leased reports whether somebody's lease lasts, and forgets those that have ended. Called with mu held.
func (s *Store) leased(r ref) bool {
	owners, ok := s.leases[r]
	if !ok {
		return false
	}
	now := s.now()
	for owner, until := range owners {
		if !until.After(now) {
			delete(owners, owner)
		}
	}
	if len(owners) == 0 {
		delete(s.leases, r)
	}
	return len(owners) > 0
}

// letGo makes an entry one that may be evicted, if nothing else holds it. Called with mu held.
func (s *Store) letGo(r ref) {
	if at := s.x.find(r); at != 0 {
		s.relist(at)
	}
	if len(s.demands) > 0 {
		s.wakeEvictor()
	}
}

// endLeases lets go of what is leased no longer. Called with mu held.
func (s *Store) endLeases() {
	for r := range s.leases {
		if !s.leased(r) {
			s.letGo(r)
		}
	}
}

// grab returns the handle of r with one reference more. Called with mu held, for an entry that is there.
func (s *Store) grab(r ref) *handle {
	h := s.open[r]
	if h == nil {
		h = &handle{ref: r}
		s.open[r] = h
	}
	h.refs++
	return h
}

// release gives a reference back.
func (s *Store) release(h *handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.refs--
	if h.refs > 0 {
		return
	}
	if h.gone {
		s.charge(s.classes[h.ref.class], -h.alloc)
		return
	}
	delete(s.open, h.ref)
	s.letGo(h.ref)
}

// SetPinned pins keys, or takes one pin back from each: an entry with a pin is never evicted. Pins are counted, live in
// memory only, and may be set for keys that come later.
func (c *Class) SetPinned(keys iter.Seq[Key], pinned bool) {
	for k := range keys {
		r := ref{k, c.id}
		c.s.mu.Lock()
		if pinned {
			c.s.pins[r]++
		} else if c.s.pins[r]--; c.s.pins[r] <= 0 {
			delete(c.s.pins, r)
			c.s.letGo(r)
		}
		c.s.mu.Unlock()
	}
}

// Lease keeps the evictor away from an entry until then. An owner has one lease on a key; a later call moves its end, and
// one that is not in the future ends it. The entry need not be there yet.
func (c *Class) Lease(key Key, owner string, until time.Time) {
	s, r := c.s, ref{key, c.id}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[r] == nil {
		s.leases[r] = map[string]time.Time{}
	}
	s.leases[r][owner] = until
	if !s.leased(r) {
		s.letGo(r)
	}
}
