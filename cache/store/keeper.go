package store

import (
	"encoding/binary"
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
			s.markAgain(nil)
		}
		s.countOverhead()
	}
}

// flush writes what changed to the journal, and a snapshot in its place when it has become long.
func (s *Store) flush() error {
	if err := s.Owned(); err != nil {
		return err
	}
	j := s.journal
	if err := j.begin(); err != nil {
		return err
	}
	s.mu.Lock()
	most := s.journalMost()
	s.mu.Unlock()
	for {
		if j.end+journalBatch*journalEntry > most {
			if err := s.compact(false); err != nil {
				return err
			}
		}
		b, slots := s.takeChanged()
		if len(slots) == 0 {
			return nil
		}
		if err := j.append(b); err != nil {
			s.markAgain(slots)
			return err
		}
	}
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

// markAgain notes that these could not be written, or that flush did not get to the end; it is tried again later.
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

// compact writes a snapshot and empties the journal. The room for both is always kept: see level.
func (s *Store) compact(clean bool) error {
	j := s.journal
	info := snapshotInfo{generation: j.generation + 1, clean: clean, foreign: s.foreign.Load()}
	if err := s.writeSnapshot(info); err != nil {
		return err
	}
	if !clean {
		return j.restart(info.generation)
	}
	// The mark is the snapshot without a journal: the snapshot has to be there for good first.
	if err := s.fs.SyncDir(s.opts.Dir); err != nil {
		return err
	}
	if err := j.remove(); err != nil {
		return err
	}
	return s.fs.SyncDir(s.opts.Dir)
}

// writeCleanMark is the end of a clean stop. What fits is known at the next start without a scan, if it is known now.
func (s *Store) writeCleanMark() error {
	j := s.journal
	s.mu.Lock()
	known := s.trustSize
	s.mu.Unlock()
	var err error
	if known {
		err = s.compact(true)
	}
	if j.f != nil {
		j.f.Close()
		j.f = nil
	}
	return err
}
