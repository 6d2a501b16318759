package store

import (
	"context"
)

// walkBatch is how many keys are gathered while mu is held once.
const walkBatch = 1024

// Walk calls visit with the key of every entry of the class, in no order, after the scan at start is over. Nothing is
// locked meanwhile: entries that come or go may be visited or not. It ends with visit's first error, or ctx's.
func (c *Class) Walk(ctx context.Context, visit func(Key) error) error {
	return c.s.walk(ctx, func(r ref, _ int64) error { return visit(r.key) }, c)
}

// walk is Walk over several classes, telling also when an entry was last read.
func (s *Store) walk(ctx context.Context, visit func(r ref, stamp int64) error, classes ...*Class) error {
	if err := s.waitScanned(ctx); err != nil {
		return err
	}
	type item struct {
		ref   ref
		stamp int64
	}
	batch := make([]item, 0, walkBatch)
	for next := slot(1); next != 0; {
		batch = batch[:0]
		s.mu.Lock()
		for ; next <= s.x.used && len(batch) < walkBatch; next++ {
			e := s.x.at(next)
			if !e.has(flagLive) {
				continue
			}
			for _, c := range classes {
				if c.id == e.class {
					batch = append(batch, item{e.ref(), e.stamp})
				}
			}
		}
		if next > s.x.used {
			next = 0
		}
		s.mu.Unlock()
		for _, it := range batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := visit(it.ref, it.stamp); err != nil {
				return err
			}
		}
	}
	return nil
}

// Contains reports whether there is an entry of that key; a hint, since its bytes are not looked at.
func (c *Class) Contains(key Key) bool {
	s := c.s
	s.mu.Lock()
	known, found := s.x.find(ref{key, c.id}) != 0, c.found
	s.mu.Unlock()
	if known || found || c.off {
		return known && !c.off
	}
	in, err := s.fs.Lstat(c.path(key))
	return err == nil && in.Regular && in.Size > 0
}

// Size returns what the disk gives up for an entry, in bytes; 0 when there is none.
func (c *Class) Size(key Key) int64 {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.x.find(ref{key, c.id}); at != 0 {
		return s.x.at(at).bytes()
	}
	return 0
}

// Remove removes an entry and returns what the disk got back; one that is absent is no error. For ReasonCorrupt it goes
// although it is pinned or in use, and is counted as a corruption; for any other reason it may not: ErrPinned, ErrInUse.
// Who has it open can go on reading it.
func (c *Class) Remove(key Key, reason string) (freed int64, err error) {
	s := c.s
	s.mu.Lock()
	known := s.x.find(ref{key, c.id}) != 0 || c.found
	s.mu.Unlock()
	if !known {
		c.look(key)
	}
	if reason == ReasonCorrupt && c.Size(key) > 0 {
		s.obs.Corrupted(c.name)
	}
	return s.drop(ref{key, c.id}, reason, reason == ReasonCorrupt)
}
