package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"path/filepath"

	"github.com/blobd/blobd/internal/vfs"
)

// The snapshot is a flat list of records in groups that each check themselves; a group of 0 records ends it.
//
//	header  magic[8] generation u64 flags u32 crc32c u32 foreign i64 crc32c u32
//	group   count u32 records… crc32c u32
const (
	snapshotName  = "snapshot"
	snapshotTemp  = "snapshot.tmp"
	snapshotMagic = "blobdsn1"
	snapshotHead  = 8 + 8 + 4 + 8 + 4
	// groupMax records are 48 KiB: what a flipped bit costs is known again from the files.
	groupMax  = 1 << 10
	flagClean = 1
)

// snapshotSize is what a snapshot of so many entries takes, at most.
func snapshotSize(entries int) int64 {
	groups := int64(entries/groupMax + 2)
	return footprint(snapshotHead + int64(entries)*recordSize + groups*8)
}

// snapshotInfo is what the snapshot says beside its records.
type snapshotInfo struct {
	generation uint64
	clean      bool  // nothing was changed after it was written, if there is no journal either
	foreign    int64 // bytes of foreign files
}

func (i snapshotInfo) encode() []byte {
	b := make([]byte, snapshotHead)
	copy(b, snapshotMagic)
	binary.LittleEndian.PutUint64(b[8:], i.generation)
	if i.clean {
		binary.LittleEndian.PutUint32(b[16:], flagClean)
	}
	binary.LittleEndian.PutUint64(b[20:], uint64(i.foreign))
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli()))
	return b
}

func decodeSnapshotInfo(b []byte) (i snapshotInfo, ok bool) {
	if string(b[:8]) != snapshotMagic || crc32.Checksum(b[:28], castagnoli()) != binary.LittleEndian.Uint32(b[28:]) {
		return i, false
	}
	i.generation = binary.LittleEndian.Uint64(b[8:])
	i.clean = binary.LittleEndian.Uint32(b[16:]) == flagClean
	i.foreign = int64(binary.LittleEndian.Uint64(b[20:]))
	return i, true
}

// loadSnapshot learns the records of the snapshot, up to the first that is damaged; only a whole one is clean.
func (s *Store) loadSnapshot() snapshotInfo {
	f, err := s.fs.Open(filepath.Join(s.opts.Dir, snapshotName))
	if err != nil {
		return snapshotInfo{}
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 256<<10)
	head := make([]byte, snapshotHead)
	if _, err := io.ReadFull(in, head); err != nil {
		return snapshotInfo{}
	}
	info, ok := decodeSnapshotInfo(head)
	if !ok {
		return snapshotInfo{}
	}
	group := make([]byte, 4+groupMax*recordSize+4)
	for {
		n, err := readGroup(in, group)
		if err != nil || s.stopping() {
			info.clean = false
			return info
		}
		if n == 0 {
			return info
		}
		s.mu.Lock()
		for i := range n {
			var r record
			r.decode(group[4+i*recordSize:])
			s.learn(&r)
		}
		s.mu.Unlock()
	}
}

var errDamaged = errors.New("store: damaged record")

// readGroup fills b with the next group and returns its number of records.
func readGroup(in io.Reader, b []byte) (int, error) {
	if _, err := io.ReadFull(in, b[:4]); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(b)
	if n > groupMax {
		return 0, errDamaged
	}
	end := 4 + int(n)*recordSize
	if _, err := io.ReadFull(in, b[4:end+4]); err != nil {
		return 0, err
	}
	if crc32.Checksum(b[:end], castagnoli()) != binary.LittleEndian.Uint32(b[end:]) {
		return 0, errDamaged
	}
	return int(n), nil
}

// writeSnapshot writes all entries to a temporary file and puts it in the snapshot's place.
func (s *Store) writeSnapshot(info snapshotInfo) (err error) {
	temp := filepath.Join(s.opts.Dir, snapshotTemp)
	_ = s.fs.Remove(temp)
	f, err := s.fs.Create(temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.fs.Remove(temp)
		}
	}()
	if err := s.fillSnapshot(f, info); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return s.fs.Rename(temp, filepath.Join(s.opts.Dir, snapshotName))
}

func (s *Store) fillSnapshot(f vfs.File, info snapshotInfo) error {
	out := bufio.NewWriterSize(f, 256<<10)
	out.Write(info.encode())
	group := make([]byte, 4, 4+groupMax*recordSize+4)
	flush := func() {
		end := len(group)
		binary.LittleEndian.PutUint32(group, uint32((end-4)/recordSize))
		group = binary.LittleEndian.AppendUint32(group, crc32.Checksum(group, castagnoli()))
		out.Write(group) // bufio keeps the error for Flush
		group = group[:4]
	}
	for next := slot(1); next != 0; {
		group, next = s.gather(group, next)
		if len(group) > 4 {
			flush()
		}
	}
	flush()
	return out.Flush()
}

// gather appends the records of the entries from next on to a group, until it is full; the returned slot is where to go
// on, 0 at the end.
func (s *Store) gather(group []byte, next slot) ([]byte, slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; next <= s.x.used; next++ {
		if len(group)+recordSize > 4+groupMax*recordSize {
			return group, next
		}
		if e := s.x.at(next); e.has(flagLive) {
			r := s.recordOf(e)
			group = group[:len(group)+recordSize]
			r.encode(group[len(group)-recordSize:])
		}
	}
	return group, 0
}
