package store

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

// recordSize is what an entry takes in the snapshot; 48 bytes:
//
//	sum[32] stamp i64 alloc u32 class u16 kind u8 0
const recordSize = sha256.Size + 16

// record is what outlives the process of an entry.
type record struct {
	sum   [sha256.Size]byte
	stamp int64
	alloc uint32
	class uint16 // the class's tag
	kind  Kind
}

func (r *record) encode(b []byte) {
	copy(b, r.sum[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(r.stamp))
	binary.LittleEndian.PutUint32(b[40:], r.alloc)
	binary.LittleEndian.PutUint16(b[44:], r.class)
	b[46], b[47] = byte(r.kind), 0
}

func (r *record) decode(b []byte) {
	copy(r.sum[:], b)
	r.stamp = int64(binary.LittleEndian.Uint64(b[32:]))
	r.alloc = binary.LittleEndian.Uint32(b[40:])
	r.class = binary.LittleEndian.Uint16(b[44:])
	r.kind = Kind(b[46])
}

// classTag names a class in records: they outlive a change of the classes' order.
func classTag(name string) uint16 { return uint16(crc32.ChecksumIEEE([]byte(name))) }

func (s *Store) recordOf(e *entry) record {
	return record{sum: e.sum, stamp: e.stamp, alloc: e.alloc, class: s.classes[e.class].tag, kind: e.kind}
}

// learn takes a record for what it is, a hint: an entry that is not known is added, one that was only known from another
// record gets the later stamp. What this process knows itself is left alone. Called with mu held.
func (s *Store) learn(r *record) {
	var c *Class
	for _, k := range s.classes {
		if k.tag == r.class {
			c = k
		}
	}
	if c == nil || r.kind > Derived {
		return
	}
	key := Key{Kind: r.kind, Sum: r.sum}
	at := s.x.find(ref{key, c.id})
	if at == 0 {
		at = s.x.insert(ref{key, c.id})
		s.x.at(at).set(flagUnseen)
		c.entries++
		c.shards[key.shard()].files++
		s.pushBack(&c.list, at)
	}
	e := s.x.at(at)
	if !e.has(flagUnseen) || e.has(flagDirty) {
		return
	}
	e.stamp = r.stamp
	s.x.latest = max(s.x.latest, r.stamp)
	s.resize(at, int64(r.alloc)*allocUnit)
}
