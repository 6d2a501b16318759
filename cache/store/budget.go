package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// page is what files are rounded up to when space is reserved; the truth is asked from the disk afterwards.
	page = 4 << 10
	// bigFile: from here on a file may need more than the extents that fit its inode: one page, and 1/1024 of its size.
	bigFile     = 1 << 20
	extentShare = 1024
	// admitWait is how long a reservation waits for the store to know what fits. A small store knows in milliseconds; a
	// caller is better served by passing a large one's bytes through than by waiting for the scan.
	admitWait = time.Second
	// demandShare: a round of eviction makes room for all who wait, but for no more than half of a limit at once, unless
	// one alone wants more.
	demandShare = 2
	// largeShare: before more than a tenth of a limit is evicted for one reservation, what may not go is added up, so that
	// nothing goes in vain.
	largeShare = 10
)

// errDiskFull is what the observer hears where others have filled the disk.
var errDiskFull = errors.New("the disk is full, and nothing is left to evict")

// footprint is the disk space to reserve for a file of size bytes.
func footprint(size int64) int64 {
	if size > math.MaxInt64/2 {
		return size // more than any disk: only that no sum becomes too large
	}
	n := (size + page - 1) / page * page
	if size > bigFile {
		n += page + size/extentShare
	}
	return n
}

// charge adds n to, or takes it from, what counts as used. Called with mu held.
func (s *Store) charge(c *Class, n int64) {
	c.used += n
	s.used += n
}

// setBytes notes what an entry takes. Called with mu held.
func (s *Store) setBytes(e *entry, n int64) {
	before := e.bytes()
	e.setBytes(n)
	s.file(s.classes[e.class], e.bytes()-before)
}

// file is charge for bytes of entries. Called with mu held.
func (s *Store) file(c *Class, n int64) {
	c.filed += n
	s.charge(c, n)
}

// unreserve gives back n reserved bytes. Called with mu held.
func (s *Store) unreserve(c *Class, n int64) {
	c.reserved -= n
	s.reserved -= n
	c.disk.free += n
	if n > 0 && len(s.demands) > 0 {
		s.wakeEvictor()
	}
}

// spend turns n reserved bytes into used ones: they are on the disk now, of which free already knows. Called with mu
// held.
func (s *Store) spend(c *Class, n int64) {
	c.reserved -= n
	s.reserved -= n
}

// level is all that counts against the total: what is there, and the most that the keeper's files may become; a new
// snapshot is written beside the old one, and so may what others keep in Dir (the catalogue) be. Called with mu held.
func (s *Store) level() int64 {
	snapshot := snapshotSize(s.x.count)
	return s.used + s.reserved + s.overhead + s.beside - s.notes.journal - s.notes.snapshot +
		max(s.journalMost(), s.notes.journal) + snapshot + max(snapshot, s.notes.snapshot)
}

// fits reports whether n more bytes of class c fit everywhere. Called with mu held.
func (s *Store) fits(c *Class, n int64) bool {
	return s.level()+n <= ceiling(s.maxSize) && c.used+c.reserved+n <= c.limit && s.missing(c.disk, n) == 0
}

// demand is a reservation that waits for the evictor.
type demand struct {
	c     *Class
	n     int64
	freed int64 // what the round that ended the wait could free; read after done
	done  chan struct{}
}

// reserve promises n bytes to a writer of class c, making room where there is none. No stripe may be held.
func (c *Class) reserve(ctx context.Context, n int64) error {
	s := c.s
	if c.off {
		return ErrOff
	}
	if err := s.admitted(ctx, s.admit); err != nil {
		return err
	}
	for {
		d, err := s.tryReserve(c, n)
		if d == nil {
			return err
		}
		if err := s.admitted(ctx, s.evicting); err != nil {
			s.forgetDemand(d)
			return err
		}
		select {
		case <-d.done:
			if d.freed == 0 && !s.fitsNow(c, n) {
				c.tellFull(n)
				return ErrNoSpace
			}
		case <-ctx.Done():
			s.forgetDemand(d)
			return ctx.Err()
		case <-s.quit:
			return ErrClosed
		}
	}
}

// tryReserve takes n bytes when they fit. When the evictor is needed it returns a demand to wait for, without an error.
func (s *Store) tryReserve(c *Class, n int64) (*demand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	top := ceiling(s.maxSize)
	switch {
	case s.closed:
		return nil, ErrClosed
	case n > c.limit || n > top:
		return nil, ErrTooLarge
	}
	if !s.fits(c, n) {
		if n > c.limit/largeShare && s.heldBytes(c)+n > c.limit || n > top/largeShare && s.heldBytes(nil)+n > top ||
			n > c.disk.size/largeShare && s.beyond(c.disk, n) {
			return nil, ErrNoSpace
		}
		d := &demand{c: c, n: n, done: make(chan struct{})}
		s.demands = append(s.demands, d)
		s.wakeEvictor()
		return d, nil
	}
	c.reserved += n
	s.reserved += n
	c.disk.free -= n
	if s.level() > percent(top, highMark) || c.used+c.reserved > percent(c.limit, highMark) ||
		s.now().Sub(s.counted) > overheadAge {
		s.wakeEvictor()
	}
	return nil, nil
}

// heldBytes is at least what eviction can't free now of a class, or (nil) of all. Called with mu held.
func (s *Store) heldBytes(c *Class) int64 {
	total := s.level()
	if c != nil {
		total = c.used + c.reserved
	}
	for _, k := range s.classes {
		if c == nil || c == k {
			total -= k.filed
		}
	}
	for r := range s.heldEntries() {
		if at := s.x.find(r); at != 0 && (c == nil || c.id == r.class) {
			total += s.x.at(at).bytes()
		}
	}
	return total
}

// beyond reports whether a disk can't have n bytes for us whatever is evicted. Called with mu held.
func (s *Store) beyond(d *disk, n int64) bool {
	room := d.free - d.keep
	for _, c := range s.classes {
		if c.disk == d {
			room += c.filed
		}
	}
	for r := range s.heldEntries() {
		if at := s.x.find(r); at != 0 && s.classes[r.class].disk == d {
			room -= s.x.at(at).bytes()
		}
	}
	return !d.failed && n > room
}

// tellFull tells of a disk that others have filled, so that evicting makes no room for n bytes, if it could hold so many.
func (c *Class) tellFull(n int64) {
	s := c.s
	s.mu.Lock()
	full := s.missing(c.disk, n) > 0 && n+c.disk.keep <= c.disk.size
	free, keep := c.disk.free, c.disk.keep
	s.mu.Unlock()
	if full {
		c.trouble(fmt.Errorf("store: %s: %d bytes are free, of which %d have to stay so: %w", c.dir, free, keep, errDiskFull))
	}
}

func (s *Store) fitsNow(c *Class, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fits(c, n)
}

// admitted waits for ready, not for long.
func (s *Store) admitted(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	default:
	}
	wait := time.NewTimer(admitWait)
	defer wait.Stop()
	select {
	case <-ready:
		return nil
	case <-wait.C:
		return ErrNoSpace
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return ErrClosed
	}
}

func (s *Store) forgetDemand(d *demand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.demands {
		if other == d {
			s.demands = append(s.demands[:i], s.demands[i+1:]...)
			return
		}
	}
}
