package blobfmt

import (
	"strings"
	"unsafe"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/oci"
)

// entries is the entries of an index that was checked, read from its bytes each time. Decoded, a million of them would
// take four times as much as the largest index.
type entries struct {
	raw   []byte
	slots int64 // where the vector of entries begins
	count int
	data  *oci.Descriptor
}

// Len implements archive.Table.
func (x *entries) Len() int { return x.count }

// Path implements archive.Table.
func (x *entries) Path(i int) string {
	r := reader{buf: x.raw}
	at, n, _ := r.vector(r.table(r.follow(x.slots+4*int64(i))), entryPath, 1)
	return text(r.bytes(at, n))
}

// Size implements archive.Table.
func (x *entries) Size(i int) int64 {
	r := reader{buf: x.raw}
	return int64(r.field(r.table(r.follow(x.slots+4*int64(i))), entryOriginalSize, 8, 0))
}

// Entry implements archive.Table.
func (x *entries) Entry(i int) *archive.Entry {
	e := new(archive.Entry)
	r := reader{buf: x.raw}
	_ = decodeEntry(&r, x.slots+4*int64(i), e, x.data) // it was checked
	e.Path = strings.Clone(e.Path)
	return e
}

// MemoryBytes implements archive.Table.
func (x *entries) MemoryBytes() int64 { return int64(cap(x.raw)) }

// text is b as a string, without a copy: the bytes of an index never change.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
