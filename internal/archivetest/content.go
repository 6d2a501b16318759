package archivetest

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// Random is size bytes that don't compress. Every part can be read for itself, without memory for the whole, and equal
// seeds give equal bytes.
func Random(seed uint64, size int64) *io.SectionReader {
	return io.NewSectionReader(random(seed), 0, size)
}

// Compressible is size bytes that zstd makes some eight times smaller, otherwise like Random.
func Compressible(seed uint64, size int64) *io.SectionReader {
	return io.NewSectionReader(repetitive(seed), 0, size)
}

// RunLength is size bytes, and a zstd frame of them that is some 32,000 times smaller: four bytes for each 128 KiB, a run
// of one byte. It takes no compressing, so gigabytes are made at once.
func RunLength(size int64) (content *io.SectionReader, frame []byte) {
	frame = []byte{
		0x28, 0xb5, 0x2f, 0xfd, // magic number
		0x00,    // no content size, no checksum
		13 << 3, // window of 1 KiB << 13 = 8 MiB
	}
	for at := int64(0); ; at += runSize {
		n := min(size-at, runSize)
		header := uint32(n)<<3 | 1<<1 // a run
		if at+n == size {
			header |= 1 // the last block
		}
		frame = append(frame, byte(header), byte(header>>8), byte(header>>16), byte(at/runSize))
		if at+n == size {
			return io.NewSectionReader(runs{}, 0, size), frame
		}
	}
}

// Bytes reads all of r.
func Bytes(r *io.SectionReader) []byte {
	b := make([]byte, r.Size())
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		panic(err)
	}
	return b
}

// Many is n small files in folders of a hundred, two levels deep, each with content of its own: a big index over little
// data.
func Many(n int) []File {
	files := make([]File, n)
	for i := range files {
		path := fmt.Sprintf("package-%03d/module-%02d/source-file-%06d.go", i/10_000, i/100%100, i)
		files[i] = File{Path: path, Data: []byte(path), ModTime: 1_700_000_000_000_000_000 + int64(i)}
	}
	return files
}

// pageSize is the unit in which content is generated, from a generator of its own.
const pageSize = 4096

type random uint64

// ReadAt never fails; the section around it knows the end.
func (r random) ReadAt(p []byte, off int64) (int, error) {
	return readPages(p, off, func(page *[pageSize]byte, i int64) {
		g := rand.NewPCG(uint64(r), uint64(i))
		for w := 0; w < pageSize; w += 8 {
			binary.LittleEndian.PutUint64(page[w:], g.Uint64())
		}
	})
}

type repetitive uint64

// ReadAt never fails; the section around it knows the end.
func (r repetitive) ReadAt(p []byte, off int64) (int, error) {
	return readPages(p, off, func(page *[pageSize]byte, i int64) {
		g := rand.NewPCG(uint64(r), uint64(i))
		for w := 0; w < pageSize/8; w += 8 {
			binary.LittleEndian.PutUint64(page[w:], g.Uint64())
		}
		for w := pageSize / 8; w < pageSize; w *= 2 {
			copy(page[w:], page[:w]) // the same eighth over and over
		}
	})
}

// runSize is what a block of zstd holds at most.
const runSize = 128 << 10

type runs struct{}

// ReadAt never fails; the section around it knows the end.
func (runs) ReadAt(p []byte, off int64) (int, error) {
	return readPages(p, off, func(page *[pageSize]byte, i int64) {
		for w := range page {
			page[w] = byte(i / (runSize / pageSize))
		}
	})
}

func readPages(p []byte, off int64, fill func(page *[pageSize]byte, i int64)) (int, error) {
	var page [pageSize]byte
	for n := 0; n < len(p); {
		at := off + int64(n)
		fill(&page, at/pageSize)
		n += copy(p[n:], page[at%pageSize:])
	}
	return len(p), nil
}
