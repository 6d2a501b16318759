package archivetest

import flatbuffers "github.com/google/flatbuffers/go"

// Index is what an index says, true or not.
type Index struct {
	Version       uint32 // the format's default, 1, is left out of the encoding, as every default is
	HashAlgorithm byte
	Entries       []Entry
	DataSize      uint64
	DataHash      []byte // nil is left out
}

// Entry is what an index says about one file.
type Entry struct {
	Path         string
	DataOffset   uint64
	DataSize     uint64
	OriginalSize uint64
	Hash         []byte
	Mode         uint32
	UID, GID     uint32
	ModTime      int64
	Compression  byte
}

// Find returns the entry at path, or panics.
func (x *Index) Find(path string) *Entry {
	for i := range x.Entries {
		if x.Entries[i].Path == path {
			return &x.Entries[i]
		}
	}
	panic("archivetest: no entry " + path)
}

// Encode is the index as FlatBuffers.
func (x *Index) Encode() []byte {
	b := flatbuffers.NewBuilder(1024 + 160*len(x.Entries))
	tables := make([]flatbuffers.UOffsetT, len(x.Entries))
	for i, e := range x.Entries {
		path, hash := b.CreateString(e.Path), b.CreateByteVector(e.Hash)
		b.StartObject(10)
		b.PrependUOffsetTSlot(0, path, 0)
		b.PrependUint64Slot(1, e.DataOffset, 0)
		b.PrependUint64Slot(2, e.DataSize, 0)
		b.PrependUint64Slot(3, e.OriginalSize, 0)
		b.PrependUOffsetTSlot(4, hash, 0)
		b.PrependUint32Slot(5, e.Mode, 0)
		b.PrependUint32Slot(6, e.UID, 0)
		b.PrependUint32Slot(7, e.GID, 0)
		b.PrependInt64Slot(8, e.ModTime, 0)
		b.PrependByteSlot(9, e.Compression, 0)
		tables[i] = b.EndObject()
	}
	entries := b.CreateVectorOfTables(tables)
	var dataHash flatbuffers.UOffsetT
	if x.DataHash != nil {
		dataHash = b.CreateByteVector(x.DataHash)
	}
	b.StartObject(5)
	b.PrependUint32Slot(0, x.Version, 1)
	b.PrependByteSlot(1, x.HashAlgorithm, 0)
	b.PrependUOffsetTSlot(2, entries, 0)
	b.PrependUint64Slot(3, x.DataSize, 0)
	b.PrependUOffsetTSlot(4, dataHash, 0)
	b.Finish(b.EndObject())
	return b.FinishedBytes()
}
