package blobfmt

import (
	"encoding/binary"
	"io"
	"io/fs"
	"math"

	"github.com/blobd/blobd/archive"
)

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

func vtable(b []byte, size int, fields []uint16) {
	binary.LittleEndian.PutUint16(b, uint16(4+2*len(fields)))
	binary.LittleEndian.PutUint16(b[2:], uint16(size))
	for i, at := range fields {
		binary.LittleEndian.PutUint16(b[4+2*i:], at)
	}
}
