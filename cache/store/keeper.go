package store

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"time"
)

// markDirty notes that the journal does not know an entry as it is. Called with mu held.
func (s *Store) markDirty(at slot) {
	e := s.x.at(at)
	if e.has(flagDirty) {
		return
	}
	e.set(flagDirty)
	s.changed = append(s.changed, at)
	if len(s.changed) == 1 {
		select {
		case s.dirty <- struct{}{}:
		default:
		}
	}
}

// keeper writes changes to the journal, FlushEvery after the first of them.
func (s *Store) keeper() {
	wait := time.NewTimer(FlushEvery)
	defer wait.Stop()
	for {
		select {
		case <-s.dirty:
		case <-s.quit:
			return
		}
		wait.Reset(FlushEvery)
		select {
		case <-wait.C:
		case <-s.quit:
			return
		}
		if err := s.flush(); err != nil {
			s.trouble(err)
		}
		s.countOverhead()
	}
}

// flush writes what changed to the journal, and a snapshot in its place when it has become long.
func (s *Store) flush() error {
	j := s.journal
	if err := j.begin(); err != nil {
		s.markAgain(nil)
		return err
	}
	for {
		b, slots := s.takeChanged()
		if len(slots) == 0 {
			break
		}
		if err := j.append(b); err != nil {
			s.markAgain(slots)
			return err
		}
	}
	if !j.full() {
		return nil
	}
	return s.compact(false)
}

// takeChanged returns journal entries for some of what changed, and the slots they are about.
func (s *Store) takeChanged() ([]byte, []slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.changed), journalBatch)
	slots := s.changed[:n:n]
	s.changed = s.changed[n:]
	if len(s.changed) == 0 {
		s.changed = nil
	}
	b := make([]byte, 0, n*journalEntry)
	for _, at := range slots {
		e := s.x.at(at)
		if !e.has(flagDirty) { // it has gone
			continue
		}
		e.clear(flagDirty)
		r := s.recordOf(e)
		b = b[:len(b)+recordSize]
		r.encode(b[len(b)-recordSize:])
		b = binary.LittleEndian.AppendUint32(b, s.journal.checksum(b[len(b)-recordSize:]))
	}
	return b, slots
}

// markAgain notes that these could not be written; the next flush tries again.
func (s *Store) markAgain(slots []slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range slots {
		if e := s.x.at(at); e.has(flagLive) && !e.has(flagDirty) {
			e.set(flagDirty)
			s.changed = append(s.changed, at)
		}
	}
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// compact writes a snapshot and empties the journal, if there is room for a second snapshot beside the first.
func (s *Store) compact(clean bool) error {
	s.mu.Lock()
	size := snapshotSize(s.x.count)
	fits := s.level()+size <= s.maxSize
	if fits {
		s.overhead += size // until it is counted
	}
	s.mu.Unlock()
	j := s.journal
	if !fits {
		// Recency since the last snapshot is the least that can be given up.
		if err := j.restart(j.generation + 1); err != nil {
			return err
		}
		return s.fs.Remove(filepath.Join(s.opts.Dir, snapshotName))
	}
	info := snapshotInfo{generation: j.generation + 1, clean: clean, foreign: s.foreign.Load()}
	if err := s.writeSnapshot(info); err != nil {
		return err
	}
	if clean {
		return j.remove()
	}
	return j.restart(info.generation)
}

// writeCleanMark is the end of a clean stop. What fits is known at the next start without a scan, if it is known now.
func (s *Store) writeCleanMark() error {
	j := s.journal
	s.mu.Lock()
	known := s.trustSize
	s.mu.Unlock()
	var err error
	if known {
		err = errors.Join(s.compact(true), s.fs.SyncDir(s.opts.Dir))
	}
	if j.f != nil {
		j.f.Close()
		j.f = nil
	}
	if err != nil {
		s.trouble(err)
	}
	return nil
}
