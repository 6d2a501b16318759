package blobfmt

import "encoding/binary"

// reader reads a FlatBuffers buffer that may say anything. Every access is checked against the buffer; the first one
// that falls outside sets outside, and that and all that follow from it read as zero, so the caller checks once for a
// group of reads. Nothing is assumed about alignment. Positions are int64, which no sum of a position and a 32-bit
// offset of the format overflows.
type reader struct {
	buf     []byte
	outside bool
}

// bytes returns n bytes from pos, or none where they are not all there.
func (r *reader) bytes(pos, n int64) []byte {
	if pos < 0 || n < 0 || pos > int64(len(r.buf))-n {
		r.outside = true
		return nil
	}
	return r.buf[pos : pos+n]
}

// uint reads a little-endian integer of the given width in bytes: 1, 2, 4 or 8.
func (r *reader) uint(pos, width int64) uint64 {
	b := r.bytes(pos, width)
	switch {
	case b == nil:
		return 0
	case width == 1:
		return uint64(b[0])
	case width == 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case width == 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// follow returns where the forward offset at pos points.
func (r *reader) follow(pos int64) int64 { return pos + int64(r.uint(pos, 4)) }

// table is a table at pos, size bytes long, whose fields are found through its vtable.
type table struct {
	pos, size          int64
	vtable, vtableSize int64
}

func (r *reader) table(pos int64) table {
	t := table{pos: pos, vtable: pos - int64(int32(r.uint(pos, 4)))}
	t.vtableSize = int64(r.uint(t.vtable, 2))
	t.size = int64(r.uint(t.vtable+2, 2))
	r.bytes(t.vtable, t.vtableSize)
	r.bytes(t.pos, t.size)
	return t
}

// find returns where the field in slot stands, width bytes wide; ok is false where the table leaves it out.
func (r *reader) find(t table, slot, width int64) (pos int64, ok bool) {
	entry := 4 + 2*slot
	if entry+2 > t.vtableSize {
		return 0, false
	}
	offset := int64(r.uint(t.vtable+entry, 2))
	if offset == 0 {
		return 0, false
	}
	if offset+width > t.size {
		r.outside = true
		return 0, false
	}
	return t.pos + offset, true
}

// field reads an integer field, or its default.
func (r *reader) field(t table, slot, width int64, def uint64) uint64 {
	pos, ok := r.find(t, slot, width)
	if !ok {
		return def
	}
	return r.uint(pos, width)
}

// vector returns where the elements of the vector in slot begin and how many they are. Unless outside is set, all of
// them are inside the buffer; ok is false where the table leaves the vector out.
func (r *reader) vector(t table, slot, elementSize int64) (pos, n int64, ok bool) {
	at, ok := r.find(t, slot, 4)
	if !ok {
		return 0, 0, false
	}
	pos = r.follow(at)
	n = int64(r.uint(pos, 4))
	r.bytes(pos+4, n*elementSize)
	return pos + 4, n, true
}
