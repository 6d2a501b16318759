package store

import (
	"cmp"
	"slices"
)

// list is the order in which the entries of a class were read, the latest first. Entries that the evictor met and must
// leave alone are out of it until they are let go, so that it never meets them twice.
type list struct{ head, tail slot }

func (s *Store) pushFront(l *list, at slot) {
	e := s.x.at(at)
	e.prev, e.next = 0, l.head
	if l.head != 0 {
		s.x.at(l.head).prev = at
	} else {
		l.tail = at
	}
	l.head = at
	e.set(flagListed)
}

func (s *Store) pushBack(l *list, at slot) {
	e := s.x.at(at)
	e.prev, e.next = l.tail, 0
	if l.tail != 0 {
		s.x.at(l.tail).next = at
	} else {
		l.head = at
	}
	l.tail = at
	e.set(flagListed)
}

func (s *Store) unlist(l *list, at slot) {
	e := s.x.at(at)
	if !e.has(flagListed) {
		return
	}
	if e.prev != 0 {
		s.x.at(e.prev).next = e.next
	} else {
		l.head = e.next
	}
	if e.next != 0 {
		s.x.at(e.next).prev = e.prev
	} else {
		l.tail = e.prev
	}
	e.prev, e.next = 0, 0
	e.clear(flagListed)
}

// newStamp is the time, or just after the latest stamp there is: when the clock was set back, or a machine starts without
// knowing the time, what is read now is still what was read last. What was read while the clock was ahead counts as read
// then, and no age makes Prune remove it before. Called with mu held.
func (s *Store) newStamp() int64 {
	s.x.latest = max(s.x.latest+1, s.now().UnixNano())
	return s.x.latest
}

// touch makes an entry the one read last. Called with mu held.
func (s *Store) touch(at slot) {
	e := s.x.at(at)
	l := &s.classes[e.class].list
	s.unlist(l, at)
	e.stamp = s.newStamp()
	s.pushFront(l, at)
	s.markDirty(at)
}

// read makes the entry of h the one read last, if it is still there.
func (s *Store) read(h *handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.x.find(h.ref); at != 0 && !h.gone {
		s.touch(at)
	}
}

// chill makes an entry the one that goes first. Called with mu held.
func (s *Store) chill(at slot) {
	e := s.x.at(at)
	e.stamp = 0
	if e.has(flagListed) {
		l := &s.classes[e.class].list
		s.unlist(l, at)
		s.pushBack(l, at)
	}
	s.markDirty(at)
}

// relist puts back an entry that the evictor had to leave alone. It was the coldest then, and is again: a read would have
// put it back by itself. Called with mu held.
func (s *Store) relist(at slot) {
	if e := s.x.at(at); !e.has(flagListed) {
		s.pushBack(&s.classes[e.class].list, at)
	}
}

// relinkBatch is how many entries are moved while mu is held once: some 50 µs.
const relinkBatch = 1024

// sortLists puts the lists in the order of the stamps, after entries came in another order. What is read meanwhile stays
// in front.
func (s *Store) sortLists() {
	type item struct {
		stamp int64
		at    slot
	}
	var items []item
	s.eachLive(func(at slot, e *entry) {
		if e.has(flagListed) {
			items = append(items, item{e.stamp, at})
		}
	})
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(b.stamp, a.stamp) })
	for batch := range slices.Chunk(items, relinkBatch) {
		s.mu.Lock()
		for _, it := range batch {
			e := s.x.at(it.at)
			if e.has(flagLive) && e.has(flagListed) && e.stamp == it.stamp {
				l := &s.classes[e.class].list
				s.unlist(l, it.at)
				s.pushBack(l, it.at)
			}
		}
		s.mu.Unlock()
	}
}

// eachLive calls visit for each entry with mu held, which it lets go every now and then: entries that come or go
// meanwhile may be visited or not. visit must not insert or remove entries.
func (s *Store) eachLive(visit func(at slot, e *entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := slot(1); at <= s.x.used; at++ {
		if e := s.x.at(at); e.has(flagLive) {
			visit(at, e)
		}
		if at%relinkBatch == 0 {
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
}
