package store

import (
	"errors"
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

// trouble notes that the disk refused something. The observer hears of each kind of trouble once.
func (s *Store) trouble(err error) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	known := s.problem != nil && rootCause(s.problem) == rootCause(err)
	s.problem = err
	s.mu.Unlock()
	if !known {
		s.obs.Problem(err)
	}
}

// works notes that something was written: a problem that was there has ended.
func (s *Store) works() {
	s.mu.Lock()
	had := s.problem != nil
	s.mu.Unlock()
	if !had { // as nearly always
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	had = s.problem != nil
	s.problem = nil
	s.mu.Unlock()
	if had {
		s.obs.Problem(nil)
	}
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
