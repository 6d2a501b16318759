package store

import (
	"errors"
	"io/fs"
	"math"
	"time"
)

// maxFailures: a round of eviction ends when so many files could not be removed, rather than going through them all.
const maxFailures = 16

// lookEvery is how often the evictor looks at the disk unasked: others may be filling it.
const lookEvery = 10 * time.Second

func (s *Store) wakeEvictor() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// evictor is the one worker that makes room. It begins when the owner has said what is pinned and the store knows what
// is there.
func (s *Store) evictor() {
	for _, ready := range []chan struct{}{s.evicting, s.admit} {
		select {
		case <-ready:
		case <-s.quit:
			return
		}
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		s.settle()
		s.round()
		select {
		case <-s.wake:
		case <-look.C:
			s.tryAgain()
		case <-s.quit:
			return
		}
	}
}

// round evicts until every limit is at its low mark, if it was above its high one, and who waits has room; or until
// nothing is left that may go.
func (s *Store) round() {
	s.mu.Lock()
	stale := s.now().Sub(s.counted) > overheadAge
	s.mu.Unlock()
	if stale {
		s.countOverhead()
	}
	s.mu.Lock()
	s.endLeases()
	waiting := s.demands
	s.demands = nil
	g := s.newGoals(waiting)
	var freed int64
	for failures := 0; failures < maxFailures; {
		at, reason := s.victim(g)
		if at == 0 {
			break
		}
		e := s.x.at(at)
		r, d := e.ref(), s.classes[e.class].disk
		s.mu.Unlock()
		n, err := s.drop(r, reason, false)
		if err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, ErrPinned) { // those are taken out next time
			failures++
		}
		freed += n
		s.mu.Lock()
		g.disks[d] -= n
	}
	for _, d := range waiting {
		d.freed = freed
		close(d.done)
	}
	s.mu.Unlock()
}

// goals is where a round has to get to.
type goals struct {
	total   int64
	classes []int64
	disks   map[*disk]int64 // bytes that have to go
}

// newGoals sets the goals for what is used and wanted now. Called with mu held.
func (s *Store) newGoals(waiting []*demand) *goals {
	g := &goals{classes: make([]int64, len(s.classes)), disks: map[*disk]int64{}}
	sum := func(of func(*demand) bool, limit int64) int64 {
		var total, most int64
		for _, d := range waiting {
			if of(d) && d.n <= d.c.limit { // no longer when the limit was changed
				total += d.n
				most = max(most, d.n)
			}
		}
		return min(total, max(most, limit/demandShare))
	}
	g.total = goal(s.level(), ceiling(s.maxSize), sum(func(*demand) bool { return true }, s.maxSize))
	for i, c := range s.classes {
		g.classes[i] = goal(c.used+c.reserved, c.limit, sum(func(d *demand) bool { return d.c == c }, c.limit))
	}
	for _, k := range s.disks {
		want := sum(func(d *demand) bool { return d.c.disk == k }, math.MaxInt64)
		g.disks[k] = s.missing(k, want)
	}
	return g
}

// goal returns the level to get to: no change while it is below the high mark and what is wanted fits.
func goal(level, limit, want int64) int64 {
	if level <= percent(limit, highMark) && level+want <= limit {
		return math.MaxInt64
	}
	return max(0, min(percent(limit, lowMark), limit-want))
}

// victim returns the entry that goes next, and why; 0 when all goals are met or nothing may go. It takes no longer for a
// million entries than for one. Called with mu held.
func (s *Store) victim(g *goals) (slot, string) {
	for i, c := range s.classes {
		if c.used+c.reserved > g.classes[i] {
			if at := s.coldest(func(k *Class) bool { return k == c }); at != 0 {
				return at, ReasonSize
			}
		}
	}
	for d, missing := range g.disks {
		if missing > 0 {
			if at := s.coldestOf(func(k *Class) bool { return k.disk == d }); at != 0 {
				return at, ReasonMinFree
			}
		}
	}
	if s.level() > g.total {
		if at := s.coldestOf(func(*Class) bool { return true }); at != 0 {
			return at, ReasonSize
		}
	}
	return 0, ""
}

// coldestOf is coldest, for bulk data first. Called with mu held.
func (s *Store) coldestOf(among func(*Class) bool) slot {
	if at := s.coldest(func(c *Class) bool { return c.data && among(c) }); at != 0 {
		return at
	}
	return s.coldest(func(c *Class) bool { return !c.data && among(c) })
}

// coldest returns the entry among these classes that was not read for the longest time and may go. What may not is taken
// out of the list until it is let go. Called with mu held.
func (s *Store) coldest(among func(*Class) bool) slot {
	var best slot
	for _, c := range s.classes {
		if !among(c) {
			continue
		}
		at := c.list.tail
		for at != 0 && s.held(s.x.at(at).ref()) != "" {
			s.unlist(&c.list, at)
			at = c.list.tail
		}
		if at != 0 && (best == 0 || s.x.at(at).stamp < s.x.at(best).stamp) {
			best = at
		}
	}
	return best
}

// drop removes an entry's file and then the entry. With force it goes although it is held; its bytes count until it is
// closed. It returns what the disk got back, now. The error is ErrPinned or ErrInUse, or the disk's.
func (s *Store) drop(r ref, reason string, force bool) (int64, error) {
	stripe := &s.stripes[r.key.shard()]
	stripe.Lock()
	defer stripe.Unlock()
	return s.dropLocked(r, reason, force)
}

// dropLocked is drop for who holds the stripe.
func (s *Store) dropLocked(r ref, reason string, force bool) (int64, error) {
	c := s.classes[r.class]
	s.mu.Lock()
	at := s.x.find(r)
	if s.closed || at == 0 {
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return 0, ErrClosed
		}
		return 0, nil
	}
	if why := s.held(r); why != "" && !force {
		s.mu.Unlock()
		if why == KeptPinned {
			return 0, ErrPinned
		}
		return 0, ErrInUse
	}
	e := *s.x.at(at)
	h := s.open[r]
	s.takeOut(at)
	s.mu.Unlock()

	var err error
	if c.shardStands(r.key.shard()) == nil { // else it is gone as far as we go
		err = s.fs.Remove(c.path(r.key))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		s.mu.Lock()
		s.putBack(e, h)
		s.mu.Unlock()
		c.trouble(err)
		return 0, err
	}
	c.leaveShard(r.key.shard())
	freed := e.bytes()
	s.mu.Lock()
	if h == nil {
		s.file(c, -freed)
	} else if h.refs > 0 { // its last Close will take the bytes off; if that was meanwhile, it has
		freed = 0
	}
	s.mu.Unlock()
	s.obs.Evicted(c.name, reason, e.bytes())
	return freed, nil
}

// takeOut removes an entry from the index, but not its bytes from the budget. Called with mu held.
func (s *Store) takeOut(at slot) {
	e := s.x.at(at)
	c, r := s.classes[e.class], e.ref()
	s.unlist(&c.list, at)
	c.entries--
	c.shards[r.key.shard()].files--
	s.orphan(r, e.bytes())
	s.x.remove(at)
}

// orphan makes the handle of r, if there is one, that of a file without a name. Called with mu held.
func (s *Store) orphan(r ref, alloc int64) {
	if h := s.open[r]; h != nil {
		s.classes[r.class].filed -= alloc
		h.gone, h.alloc = true, alloc
		delete(s.open, r)
	}
}

// putBack undoes takeOut. Called with mu held.
func (s *Store) putBack(e entry, h *handle) {
	at := s.x.insert(e.ref())
	n := s.x.at(at)
	n.stamp, n.verified, n.alloc = e.stamp, e.verified, e.alloc
	c := s.classes[e.class]
	c.entries++
	c.shards[e.sum[0]].files++
	s.pushFront(&c.list, at)
	if h == nil {
		return
	}
	n.setBytes(h.alloc) // a partial may have grown meanwhile
	c.filed += n.bytes()
	if h.refs == 0 {
		s.charge(c, n.bytes())
		return
	}
	h.gone, h.alloc = false, 0
	s.open[h.ref] = h
}
