package store

import (
	"errors"
	"maps"
	"slices"
)

// Observer hears of what the store does by itself. Calls come from several goroutines, must not block, and must not call
// the store.
type Observer interface {
	Evicted(class, reason string, bytes int64) // an entry was removed; reason is one of the Reason constants
	Corrupted(class string)                    // an entry, or a block of one, was found bad
	Problem(err error)                         // the disk refuses something; nil: it works again
}

// Why an entry was removed.
const (
	ReasonSize    = "size"     // a cap, or the total
	ReasonMinFree = "min_free" // the disk
	ReasonTTL     = "ttl"      // unused for as long as Prune was told
	ReasonCorrupt = "corrupt"  // found bad
	ReasonRemoved = "removed"  // somebody asked for it
)

type noObserver struct{}

func (noObserver) Evicted(string, string, int64) {}
func (noObserver) Corrupted(string)              {}
func (noObserver) Problem(error)                 {}

// trouble notes that the disk refused something that is no class's.
func (s *Store) trouble(err error) { s.troubleAt("", err) }

// trouble notes that the disk of the class refused something.
func (c *Class) trouble(err error) { c.s.troubleAt(c.place(), err) }

// works notes that something was written for no class.
func (s *Store) works() { s.worksAt("") }

// works notes that an entry of the class was written: a problem that its disk had has ended.
func (c *Class) works() { c.s.worksAt("", c.place()) }

// place names the disk of the class among the problems.
func (c *Class) place() string {
	if c.disk == nil { // not known yet
		return ""
	}
	return c.disk.dir
}

// troubleAt notes a problem of a place: a disk, or a folder; "" is all that is no class's. The observer hears of each
// kind of problem of a place once.
func (s *Store) troubleAt(place string, err error) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	old := s.problems[place]
	s.problems[place] = err
	now := s.problem()
	s.mu.Unlock()
	if old == nil || rootCause(old) != rootCause(err) {
		s.obs.Problem(now)
	}
}

// worksAt ends the problems of places.
func (s *Store) worksAt(places ...string) {
	s.mu.Lock()
	none := len(s.problems) == 0
	s.mu.Unlock()
	if none { // as nearly always
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	had := len(s.problems)
	for _, place := range places {
		delete(s.problems, place)
	}
	ended := len(s.problems) < had
	now := s.problem()
	s.mu.Unlock()
	if ended {
		s.obs.Problem(now)
	}
}

// problem is all that is wrong now, in one error; nil when nothing is. Called with mu held.
func (s *Store) problem() error {
	var all []error
	for _, place := range slices.Sorted(maps.Keys(s.problems)) {
		all = append(all, s.problems[place])
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

// rootCause is the text of the innermost error: the same for each file that a full disk refuses.
func rootCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
