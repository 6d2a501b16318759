package blobfmt

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Spool is where an Encoder keeps what it was given: a temporary file, as a rule.
type Spool interface {
	io.Writer
	io.ReaderAt
}

// Encoder makes the index of a new archive. Entries are added in the order of their paths' bytes, which is the order in
// which readers search, and go to a spool: of each, two bytes stay in memory. They can be read back, and the index written,
// as often as needed. An Encoder is for one goroutine; what Entries and Index return reads the spool for itself.
//
// Every table of an entry has all its fields in the same places, so one vtable serves them all and a table can be
// written before it is known where it will stand, but for its distance to that vtable.
type Encoder struct {
	spool   Spool
	w       *bufio.Writer
	lengths []uint16 // of the records in the spool
	size    int64    // of the spool
	last    string   // the path that came last
}

// NewEncoder returns an Encoder of no entries whose spool, which must be empty, is spool.
func NewEncoder(spool Spool) *Encoder {
	return &Encoder{spool: spool, w: bufio.NewWriterSize(spool, 64<<10)}
}

// Len is the number of entries.
func (e *Encoder) Len() int { return len(e.lengths) }

// Add adds an entry, whose locator must be a Range; its Blob may be nil. It fails with fault.InvalidPath for a path that no
// reader takes, or that does not come after the last one.
func (e *Encoder) Add(entry archive.Entry) error {
	path := entry.Path
	switch {
	case !fs.ValidPath(path) || path == "." || len(path) > archive.MaxPath:
		return fault.New(fault.InvalidPath, "path %.256q can't be in an archive", path).
			Try("rename it: UTF-8, and at most %d bytes", archive.MaxPath)
	case len(e.lengths) > 0 && path <= e.last:
		return fault.New(fault.InvalidPath, "path %.256q does not come after %.256q", path, e.last)
	}
	at, ok := entry.Locator.(archive.Range)
	if !ok {
		return fmt.Errorf("entry %q: an index can't say that its bytes are in a %T", path, entry.Locator)
	}
	record := appendRecord(nil, &entry, at)
	if slotsAt+4*int64(len(e.lengths)+2)+e.size+int64(len(record)) > maxIndex {
		return fault.New(fault.IndexInvalid, "more than %d files, whose index would be larger than 2 GiB", len(e.lengths)).
			Try("push them as several archives")
	}
	if _, err := e.w.Write(record); err != nil {
		return err
	}
	e.lengths = append(e.lengths, uint16(len(record)))
	e.size += int64(len(record))
	e.last = path
	return nil
}

// Entries are all entries as they were added. The first error ends them.
func (e *Encoder) Entries() iter.Seq2[archive.Entry, error] {
	return func(yield func(archive.Entry, error) bool) {
		next := e.records()
		for {
			record, err := next()
			if err == io.EOF {
				return
			}
			var entry archive.Entry
			if err == nil {
				entry, err = parseRecord(record)
			}
			if !yield(entry, err) || err != nil {
				return
			}
		}
	}
}

// Index is the index of an archive with these entries whose data is data, named by its sha256. No entry may be added while
// it is read.
func (e *Encoder) Index(data oci.Descriptor) io.Reader {
	sum, err := hex.DecodeString(data.Digest.Encoded())
	if err != nil || data.Digest.Algorithm() != digest.SHA256 {
		return &pieces{next: func() ([]byte, error) { return nil, fmt.Errorf("an index can't name data by %q", data.Digest) }}
	}
	var root [slotsAt]byte
	le := binary.LittleEndian
	le.PutUint32(root[0:], indexTableAt)
	vtable(root[indexVtableAt:], indexTableSize, indexFields[:])
	vtable(root[entryVtableAt:], tableSize, entryFields[:])
	t := root[indexTableAt:]
	le.PutUint32(t[0:], indexTableAt-indexVtableAt)
	le.PutUint32(t[indexFields[indexVersion]:], 1)
	le.PutUint64(t[indexFields[indexDataSize]:], uint64(data.Size))
	le.PutUint32(t[indexFields[indexEntries]:], uint32(entriesAt-indexTableAt-indexFields[indexEntries]))
	le.PutUint32(t[indexFields[indexDataHash]:], uint32(dataHashAt-indexTableAt-indexFields[indexDataHash]))
	le.PutUint32(root[dataHashAt:], sumSize)
	copy(root[dataHashAt+4:], sum)
	le.PutUint32(root[entriesAt:], uint32(len(e.lengths)))
	return io.MultiReader(bytes.NewReader(root[:]), &pieces{next: e.slots()}, &pieces{next: e.tables()})
}

// IndexSize is the size of the index.
func (e *Encoder) IndexSize() int64 { return e.tablesAt() + e.size }

// tablesAt is where the first table stands: after the slots, and where its 8-byte integers are aligned.
func (e *Encoder) tablesAt() int64 {
	end := slotsAt + 4*int64(len(e.lengths))
	return end + (12-end%8)%8
}

// slots is the vector of distances from a slot to its entry's table, and the padding that follows.
func (e *Encoder) slots() func() ([]byte, error) {
	i, table := 0, e.tablesAt()
	var b []byte
	return func() ([]byte, error) {
		b = b[:0]
		for ; i < len(e.lengths) && len(b) < 16<<10; i++ {
			b = binary.LittleEndian.AppendUint32(b, uint32(table-(slotsAt+4*int64(i))))
			table += int64(e.lengths[i])
		}
		if i == len(e.lengths) {
			b = append(b, make([]byte, e.tablesAt()-slotsAt-4*int64(i))...)
			i++ // so that the padding comes once
		}
		if len(b) == 0 {
			return nil, io.EOF
		}
		return b, nil
	}
}

// tables are the records with their distance to the vtable.
func (e *Encoder) tables() func() ([]byte, error) {
	next, at := e.records(), e.tablesAt()
	return func() ([]byte, error) {
		record, err := next()
		if err == nil {
			binary.LittleEndian.PutUint32(record, uint32(at-entryVtableAt))
			at += int64(len(record))
		}
		return record, err
	}
}

// records returns the records one after another, each good until the next, and then io.EOF.
func (e *Encoder) records() func() ([]byte, error) {
	if err := e.w.Flush(); err != nil {
		return func() ([]byte, error) { return nil, err }
	}
	i, r, b := 0, bufio.NewReaderSize(io.NewSectionReader(e.spool, 0, e.size), 64<<10), []byte(nil)
	return func() ([]byte, error) {
		if i == len(e.lengths) {
			return nil, io.EOF
		}
		b = append(b[:0], make([]byte, e.lengths[i])...)
		i++
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, fmt.Errorf("entry %d in the spool: %w", i-1, err)
		}
		return b, nil
	}
}

// pieces is a Reader of what next returns, piece by piece.
type pieces struct {
	next func() ([]byte, error)
	rest []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		var err error
		if p.rest, err = p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
