package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/blobd/blobd/internal/vfs"
)

// The journal tells what was read or written since the snapshot: records, each with a checksum that also takes in the
// generation, so that records of an older journal never match. It is there from start to a clean stop.
//
//	header  magic[8] generation u64 crc32c u32
//	entry   record[48] crc32c u32
const (
	journalName  = "journal"
	journalMagic = "blobdjn1"
	journalHead  = 8 + 8 + 4
	journalEntry = recordSize + 4
	// journalMax: a journal is replaced by a snapshot when it has 160,000 entries; of a small store, when it takes 1/64
	// of it.
	journalMax   = 8 << 20
	journalShare = 64
	// journalBatch is how many entries are gathered while mu is held once, and written with one call: less than the
	// page that any journal may have.
	journalBatch = page / journalEntry / 2
)

// journal is the open journal. It belongs to one goroutine at a time: the starter, then the keeper, then Close.
type journal struct {
	s          *Store
	f          vfs.File // nil: it could not be made
	generation uint64
	end        int64 // where the next entry goes: after the last whole one
}

func newJournal(s *Store) *journal { return &journal{s: s} }

func (j *journal) path() string { return filepath.Join(j.s.opts.Dir, journalName) }

func (j *journal) checksum(b []byte) uint32 {
	var g [8]byte
	binary.LittleEndian.PutUint64(g[:], j.generation)
	return crc32.Update(crc32.Checksum(g[:], castagnoli()), castagnoli(), b)
}

// load learns the entries of the journal, up to the first that is damaged, if it is not older than the snapshot. It
// reports whether there is a journal: whether the last stop was not clean.
func (j *journal) load(snapshot uint64) bool {
	j.generation = snapshot
	f, err := j.s.fs.OpenRW(j.path())
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	j.f = f
	in := bufio.NewReaderSize(f, 256<<10)
	head := make([]byte, journalHead)
	if _, err := io.ReadFull(in, head); err != nil || string(head[:8]) != journalMagic ||
		crc32.Checksum(head[:16], castagnoli()) != binary.LittleEndian.Uint32(head[16:]) {
		return true
	}
	generation := binary.LittleEndian.Uint64(head[8:])
	if generation < snapshot {
		return true
	}
	j.generation, j.end = generation, journalHead
	b := make([]byte, journalEntry)
	for !j.s.stopping() {
		if _, err := io.ReadFull(in, b); err != nil {
			break
		}
		if j.checksum(b[:recordSize]) != binary.LittleEndian.Uint32(b[recordSize:]) {
			break
		}
		var r record
		r.decode(b)
		j.s.mu.Lock()
		j.s.learn(&r)
		j.s.mu.Unlock()
		j.end += journalEntry
	}
	return true
}

// begin makes the journal ready to be appended to, and with it the store one that was not stopped cleanly.
func (j *journal) begin() error {
	if j.f != nil && !j.stands() {
		j.f.Close()
		j.f, j.end = nil, 0
	}
	if j.f == nil {
		f, err := j.s.fs.Create(j.path())
		if errors.Is(err, fs.ErrExist) {
			f, err = j.s.fs.OpenRW(j.path())
		}
		if err != nil {
			return err
		}
		j.f = f
	}
	if j.end >= journalHead {
		return nil
	}
	if err := j.restart(j.generation); err != nil {
		return err
	}
	return j.s.fs.SyncDir(j.s.opts.Dir)
}

// stands reports whether the journal that is open is the one in the folder.
func (j *journal) stands() bool {
	there, err := j.s.fs.Lstat(j.path())
	if err != nil {
		return !isAbsent(err)
	}
	open, err := j.f.Stat()
	return err != nil || there.Stamp == open.Stamp
}

// restart empties the journal.
func (j *journal) restart(generation uint64) error {
	j.generation, j.end = generation, 0
	if err := j.f.Truncate(0); err != nil {
		return err
	}
	head := make([]byte, journalHead)
	copy(head, journalMagic)
	binary.LittleEndian.PutUint64(head[8:], generation)
	binary.LittleEndian.PutUint32(head[16:], crc32.Checksum(head[:16], castagnoli()))
	if _, err := vfs.WriteAt(j.f, head, 0); err != nil {
		return err
	}
	j.end = journalHead
	return nil
}

// append writes b, a whole number of entries. After an error the next append takes their place.
func (j *journal) append(b []byte) error {
	if _, err := vfs.WriteAt(j.f, b, j.end); err != nil {
		return err
	}
	j.end += int64(len(b))
	return nil
}

// journalMost is what the journal may take. Called with mu held.
func (s *Store) journalMost() int64 { return max(page, min(journalMax, s.maxSize/journalShare)) }

// remove ends the journal: a clean stop has none.
func (j *journal) remove() error {
	if j.f != nil {
		j.f.Close()
		j.f = nil
	}
	err := j.s.fs.Remove(j.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
