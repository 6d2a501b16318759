package archive

import (
	"strings"
	"unsafe"
)

// Table is a list of files as the reader of a format keeps it, in no special order. A Tree asks it again and again, so a
// million files need no more memory than the table itself takes. It never changes.
type Table interface {
	Len() int
	// Path and Size are those of file i. The path may share the table's memory.
	Path(i int) string
	Size(i int) int64
	// Entry is file i. It shares no memory with the table, so that who keeps it does not keep the table.
	Entry(i int) *Entry
	// MemoryBytes is what the table holds, to within allocation overhead.
	MemoryBytes() int64
}

// Entries is the plainest Table.
type Entries []Entry

// Len implements Table.
func (es Entries) Len() int { return len(es) }

// Path implements Table.
func (es Entries) Path(i int) string { return es[i].Path }

// Size implements Table.
func (es Entries) Size(i int) int64 { return es[i].Size }

// Entry implements Table.
func (es Entries) Entry(i int) *Entry {
	e := es[i]
	e.Path = strings.Clone(e.Path)
	return &e
}

// MemoryBytes implements Table.
func (es Entries) MemoryBytes() int64 {
	n := int64(cap(es)) * int64(unsafe.Sizeof(Entry{}))
	for i := range es {
		n += int64(len(es[i].Path)) + locatorBytes(es[i].Locator)
	}
	return n
}

// locatorBytes is what a locator holds outside its entry. The blobs of ranges and members are shared by all entries.
func locatorBytes(l Locator) int64 {
	switch l := l.(type) {
	case Inline:
		return int64(unsafe.Sizeof(l)) + int64(len(l.Data))
	case Range:
		return int64(unsafe.Sizeof(l))
	case Member:
		return int64(unsafe.Sizeof(l))
	}
	return 0
}
