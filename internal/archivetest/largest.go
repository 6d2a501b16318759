package archivetest

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// LargestIndex is a valid index of count empty files that takes about size bytes, as much as possible of it paths: deep
// ones that begin alike and stand in a bad order for sorting. Other seeds give other paths.
func LargestIndex(count, size int, seed uint32) []byte {
	const (
		rootVtable, root  = 6, 16
		vtable, tableSize = 24, 12
		vector            = 40
		slots             = vector + 4
		sumSize           = 32
	)
	entrySize := (size - slots - 4*count - sumSize - 4) / count
	deep := strings.Repeat("d/", max(0, entrySize-tableSize-4-len("00000000/0000000"))/2)
	entrySize = tableSize + 4 + len(deep) + len("00000000/0000000")
	sum := slots + 4*count + entrySize*count

	b := make([]byte, sum+4+sumSize)
	put16 := func(at int, values ...uint16) {
		for i, v := range values {
			binary.LittleEndian.PutUint16(b[at+2*i:], v)
		}
	}
	put32 := func(at, v int) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
	put32(0, root)
	put16(rootVtable, 10, 8, 0, 0, 4)           // of itself, of the table; the third field, the entries, is at 4
	put16(vtable, 14, tableSize, 4, 0, 0, 0, 8) // the path is at 4, the hash at 8, all else is left out
	put32(root, root-rootVtable)
	put32(root+4, vector-(root+4))
	put32(vector, count)
	step := count*618/1000 | 1 // far from the neighbour
	for i := range count {
		slot, at := slots+4*i, slots+4*count+entrySize*i
		put32(slot, at-slot)
		put32(at, at-vtable)
		put32(at+4, tableSize-4)
		put32(at+8, sum-(at+8))
		path := fmt.Appendf(b[at+tableSize+4:at+tableSize+4], "%s%08x/%07d", deep, seed, i*step%count)
		put32(at+tableSize, len(path))
	}
	put32(sum, sumSize)
	return b
}
