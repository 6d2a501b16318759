package store

import (
	"crypto/sha256"
	"hash/maphash"
)

// slot names a place in the index; 0 is none.
type slot uint32

const (
	// slabBits: entries live in slabs of 4096, 256 KiB each, so that the index grows without moving and a small store
	// stays small.
	slabBits = 12
	slabLen  = 1 << slabBits
	// allocUnit is the unit of entry.alloc, that of st_blocks; 32 bits of it are 2 TiB.
	allocUnit = 512
	// minTable is the first size of the hash table, a power of two.
	minTable = 1 << 10
)

const (
	flagLive   = 1 << iota // the slot holds an entry
	flagListed             // it is in its class's list of recency
	flagDirty              // the journal does not know of it yet
	flagUnseen             // known from the snapshot only: the scan has not met its file
)

// entry is what the store knows of one file: 64 bytes without a pointer, so that a million cost 64 MB and the garbage
// collector nothing.
type entry struct {
	sum        [sha256.Size]byte
	stamp      int64  // when it was last read, Unix nanoseconds; 0: it goes first
	verified   uint64 // the file's vfs stamp when it was last found good; 0: not in this process
	prev, next slot   // list of recency; next is also the list of free slots
	alloc      uint32 // what the disk gives up, in allocUnit
	class      uint8
	kind       Kind
	flags      uint8
}

func (e *entry) key() Key         { return Key{Kind: e.kind, Sum: e.sum} }
func (e *entry) ref() ref         { return ref{key: e.key(), class: e.class} }
func (e *entry) bytes() int64     { return int64(e.alloc) * allocUnit }
func (e *entry) has(f uint8) bool { return e.flags&f != 0 }
func (e *entry) setBytes(n int64) { e.alloc = uint32(min((n+allocUnit-1)/allocUnit, 1<<32-1)) }
func (e *entry) set(f uint8)      { e.flags |= f }
func (e *entry) clear(f uint8)    { e.flags &^= f }
func (e *entry) is(r ref) bool {
	return e.class == r.class && e.kind == r.key.Kind && e.sum == r.key.Sum
}

// index finds entries by class and key, in O(1): slabs of entries, and an open-addressing table of slots over them. The
// zero value is not ready; see newIndex. It is guarded by Store.mu.
type index struct {
	slabs  [][]entry
	used   slot // slots handed out so far, free ones included
	free   slot // first of the free ones
	count  int
	table  []slot // linear probing; at most 3/4 full
	latest int64  // no entry was read later, Unix nanoseconds
	seed   maphash.Seed
}

func newIndex() index { return index{table: make([]slot, minTable), seed: maphash.MakeSeed()} }

// at returns the entry in a slot, which must have been handed out.
func (x *index) at(s slot) *entry { return &x.slabs[(s-1)>>slabBits][(s-1)&(slabLen-1)] }

// home is where the search for r begins. The hash is seeded: who chooses digests can't choose collisions.
func (x *index) home(class uint8, kind Kind, sum *[sha256.Size]byte) int {
	h := maphash.Bytes(x.seed, sum[:])
	h += (uint64(class)<<8 | uint64(kind)) * 0x9e3779b97f4a7c15
	return int((h ^ h>>32) & uint64(len(x.table)-1))
}

// find returns the slot of r, or 0.
func (x *index) find(r ref) slot {
	for i := x.home(r.class, r.key.Kind, &r.key.Sum); ; i = (i + 1) & (len(x.table) - 1) {
		s := x.table[i]
		if s == 0 || x.at(s).is(r) {
			return s
		}
	}
}

// insert adds r, which must not be there, with everything else zero.
func (x *index) insert(r ref) slot {
	if (x.count+1)*4 > len(x.table)*3 {
		x.grow()
	}
	s := x.free
	if s != 0 {
		x.free = x.at(s).next
	} else {
		if int(x.used) == len(x.slabs)*slabLen {
			x.slabs = append(x.slabs, make([]entry, slabLen))
		}
		x.used++
		s = x.used
	}
	*x.at(s) = entry{sum: r.key.Sum, kind: r.key.Kind, class: r.class, flags: flagLive}
	x.place(s)
	x.count++
	return s
}

func (x *index) place(s slot) {
	e := x.at(s)
	i := x.home(e.class, e.kind, &e.sum)
	for x.table[i] != 0 {
		i = (i + 1) & (len(x.table) - 1)
	}
	x.table[i] = s
}

func (x *index) grow() {
	old := x.table
	x.table = make([]slot, 2*len(old))
	for _, s := range old {
		if s != 0 {
			x.place(s)
		}
	}
}

// remove takes the entry in s out; the slot may be handed out again.
func (x *index) remove(s slot) {
	e := x.at(s)
	mask := len(x.table) - 1
	i := x.home(e.class, e.kind, &e.sum)
	for x.table[i] != s {
		i = (i + 1) & mask
	}
	// What follows moves up into the hole, where its search still passes it, so that no search ends too early.
	for j := (i + 1) & mask; x.table[j] != 0; j = (j + 1) & mask {
		f := x.at(x.table[j])
		if home := x.home(f.class, f.kind, &f.sum); (j-home)&mask >= (j-i)&mask {
			x.table[i] = x.table[j]
			i = j
		}
	}
	x.table[i] = 0
	*e = entry{next: x.free}
	x.free = s
	x.count--
}
