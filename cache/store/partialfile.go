package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"

	"github.com/blobd/blobd/internal/vfs"
)

// The file of a partial: the blob's bytes where they are in the blob; from the next multiple of BlockSize a header, and
// after it a record for each block. A record is written after the bytes that it vouches for, and both it and the header
// check themselves, so that whatever a crash leaves out is only absent.
//
//	header  magic[8] version u32 block u32 size u64 kind u32 sum[32] crc32c u32     (64 bytes, little-endian)
//	record  crc32c of the block u32, guard u32 = crc32c(sum, kind, size, number, crc of the block)
const (
	partialMagic   = "blobdprt"
	partialVersion = 1
	headerLen      = 64
	recordLen      = 8
	// chunkBlocks: records are read 512 at a time, a page of the disk, which is 32 MiB of the blob: opening a partial of
	// 16 GiB to read one block costs 4 KiB of its table, not 2 MiB.
	chunkBlocks = 512
	// maxPartial: what a manifest says of a blob's size may be a lie, and the table of one this large takes 70 MiB of memory
	// when all of it is looked at. No registry takes a larger blob.
	maxPartial = 1 << 40
)

// Files grow to what their trailer needs: at creation the header's page and one for the file's extents.
const newPartialSize = 2 * page

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func blocksOf(size int64) int { return int((size + BlockSize - 1) / BlockSize) }

func trailerAt(size int64) int64 { return int64(blocksOf(size)) * BlockSize }

func recordAt(size int64, block int) int64 {
	return trailerAt(size) + headerLen + int64(block)*recordLen
}

func encodeHeader(k Key, size int64) []byte {
	b := make([]byte, headerLen)
	copy(b, partialMagic)
	binary.LittleEndian.PutUint32(b[8:], partialVersion)
	binary.LittleEndian.PutUint32(b[12:], BlockSize)
	binary.LittleEndian.PutUint64(b[16:], uint64(size))
	binary.LittleEndian.PutUint32(b[24:], uint32(k.Kind))
	copy(b[28:], k.Sum[:])
	binary.LittleEndian.PutUint32(b[headerLen-4:], crc32.Checksum(b[:headerLen-4], castagnoli()))
	return b
}

// errBadHeader: the file is not a partial of that key.
var errBadHeader = errors.New("store: damaged partial")

// readHeader returns the size of the blob that the file of key k is a part of. The header's place depends on the size, so
// it is looked for where a file of that length must have it.
func readHeader(f vfs.File, k Key, length int64) (int64, error) {
	at := headerPlace(length)
	if at < 0 {
		return 0, errBadHeader
	}
	b := make([]byte, headerLen)
	if _, err := f.ReadAt(b, at); err != nil {
		return 0, err
	}
	size := int64(binary.LittleEndian.Uint64(b[16:]))
	if size <= 0 || size > min(at, maxPartial) || at-size >= BlockSize || string(b) != string(encodeHeader(k, size)) {
		return 0, errBadHeader
	}
	return size, nil
}

// headerPlace solves length = n*BlockSize + headerLen + n*recordLen for n; -1 when there is no whole n.
func headerPlace(length int64) int64 {
	n := (length - headerLen) / (BlockSize + recordLen)
	if n <= 0 || (length-headerLen)%(BlockSize+recordLen) != 0 {
		return -1
	}
	return n * BlockSize
}

// guard makes a record one of this key, size and block: nothing else, old or foreign, matches.
func guard(k Key, size int64, block int, sum uint32) uint32 {
	var b [sha256.Size + 1 + 8 + 8 + 4]byte
	copy(b[:], k.Sum[:])
	b[32] = byte(k.Kind)
	binary.LittleEndian.PutUint64(b[33:], uint64(size))
	binary.LittleEndian.PutUint64(b[41:], uint64(block))
	binary.LittleEndian.PutUint32(b[49:], sum)
	return crc32.Checksum(b[:], castagnoli())
}

func encodeRecord(k Key, size int64, block int, sum uint32) []byte {
	b := make([]byte, recordLen)
	binary.LittleEndian.PutUint32(b, sum)
	binary.LittleEndian.PutUint32(b[4:], guard(k, size, block, sum))
	return b
}

// chunk is a piece of the table in memory.
type chunk struct {
	has  [chunkBlocks / 64]uint64
	sums [chunkBlocks]uint32
}

func (ch *chunk) holds(i int) bool { return ch.has[i/64]>>(i%64)&1 == 1 }
func (ch *chunk) add(i int)        { ch.has[i/64] |= 1 << (i % 64) }
func (ch *chunk) drop(i int)       { ch.has[i/64] &^= 1 << (i % 64) }

// count returns how many blocks it holds.
func (ch *chunk) count() (n int) {
	for _, w := range ch.has {
		n += bits.OnesCount64(w)
	}
	return n
}

// decodeChunk reads the records in b, of the blocks from first on; damaged is how many were neither valid nor absent.
func decodeChunk(b []byte, k Key, size int64, first int) (ch *chunk, damaged int) {
	ch = &chunk{}
	for i := 0; (i+1)*recordLen <= len(b); i++ {
		sum := binary.LittleEndian.Uint32(b[i*recordLen:])
		mark := binary.LittleEndian.Uint32(b[i*recordLen+4:])
		switch {
		case sum == 0 && mark == 0:
		case mark == guard(k, size, first+i, sum):
			ch.sums[i] = sum
			ch.add(i)
		default:
			damaged++
		}
	}
	return ch, damaged
}
