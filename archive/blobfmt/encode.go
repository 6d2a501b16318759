package blobfmt

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"

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

// An index begins with its root and the two vtables, all of which have a fixed place. The places keep 8-byte integers
// aligned, as the format asks.
const (
	indexVtableAt = 4
	entryVtableAt = 18
	indexTableAt  = 44
	dataHashAt    = 72
	entriesAt     = dataHashAt + 4 + sumSize // the length of the vector; its slots follow
	slotsAt       = entriesAt + 4

	// A record is an entry's table, its hash and its path. It begins 4 bytes after a multiple of 8, and so does the next.
	tableSize    = 60
	recordHashAt = tableSize
	recordPathAt = recordHashAt + 4 + sumSize

	maxIndex = math.MaxInt32 // FlatBuffers' own limit: offsets to vtables are signed
)

// The fields' places in an entry's table, in the order of the slots.
var entryFields = [...]uint16{
	entryPath: 36, entryDataOffset: 4, entryDataSize: 12, entryOriginalSize: 20, entryHash: 40,
	entryMode: 44, entryUID: 48, entryGID: 52, entryModTime: 28, entryCompression: 56,
}

// The same in the index's table.
var indexFields = [...]uint16{indexVersion: 12, indexHashAlgorithm: 24, indexEntries: 16, indexDataSize: 4, indexDataHash: 20}

const indexTableSize = 28

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

func appendRecord(b []byte, entry *archive.Entry, at archive.Range) []byte {
	var t [tableSize]byte // its distance to the vtable, the first 4 bytes, is filled in when its place is known
	put32 := func(slot int, v uint32) { binary.LittleEndian.PutUint32(t[entryFields[slot]:], v) }
	put64 := func(slot int, v uint64) { binary.LittleEndian.PutUint64(t[entryFields[slot]:], v) }
	put32(entryPath, uint32(recordPathAt-entryFields[entryPath]))
	put64(entryDataOffset, uint64(at.Offset))
	put64(entryDataSize, uint64(at.Length))
	put64(entryOriginalSize, uint64(entry.Size))
	put32(entryHash, uint32(recordHashAt-entryFields[entryHash]))
	put32(entryMode, uint32(entry.Mode.Perm()))
	put32(entryUID, entry.UID)
	put32(entryGID, entry.GID)
	put64(entryModTime, uint64(entry.ModTime))
	t[entryFields[entryCompression]] = byte(at.Codec)

	b = append(b, t[:]...)
	b = binary.LittleEndian.AppendUint32(b, sumSize)
	b = append(b, entry.Sum[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entry.Path)))
	b = append(b, entry.Path...)
	b = append(b, 0) // strings end in one, which their length leaves out
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

func parseRecord(b []byte) (archive.Entry, error) {
	r := reader{buf: b}
	get := func(slot int, width int64) uint64 { return r.uint(int64(entryFields[slot]), width) }
	e := archive.Entry{
		Size: int64(get(entryOriginalSize, 8)), Mode: fs.FileMode(get(entryMode, 4)), UID: uint32(get(entryUID, 4)),
		GID: uint32(get(entryGID, 4)), ModTime: int64(get(entryModTime, 8)), HasSum: true,
		Locator: archive.Range{
			Offset: int64(get(entryDataOffset, 8)), Length: int64(get(entryDataSize, 8)),
			Codec: archive.Codec(get(entryCompression, 1)),
		},
	}
	copy(e.Sum[:], r.bytes(recordHashAt+4, sumSize))
	e.Path = string(r.bytes(recordPathAt+4, int64(r.uint(recordPathAt, 4))))
	if r.outside {
		return archive.Entry{}, io.ErrUnexpectedEOF
	}
	return e, nil
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

// Index is the index of an archive with these entries whose data is data, and IndexSize its size. No entry may be added
// while it is read.
func (e *Encoder) Index(data oci.Descriptor) io.Reader {
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
	copy(root[dataHashAt+4:], sumOf(data.Digest))
	le.PutUint32(root[entriesAt:], uint32(len(e.lengths)))
	return io.MultiReader(&pieces{next: once(root[:])}, &pieces{next: e.slots()}, &pieces{next: e.tables()})
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

func vtable(b []byte, size int, fields []uint16) {
	binary.LittleEndian.PutUint16(b, uint16(4+2*len(fields)))
	binary.LittleEndian.PutUint16(b[2:], uint16(size))
	for i, at := range fields {
		binary.LittleEndian.PutUint16(b[4+2*i:], at)
	}
}

// sumOf is the bytes of a sha256 digest.
func sumOf(d digest.Digest) []byte {
	var sum [sumSize]byte
	if _, err := fmt.Sscanf(d.Encoded(), "%x", (*hexSum)(&sum)); err != nil {
		return sum[:]
	}
	return sum[:]
}
