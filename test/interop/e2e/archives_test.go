package e2e

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/test/interop/peer"
)

// push puts files into the registry at address as the published writer would, and returns the manifest's digest.
func push(t *testing.T, address, name string, o archivetest.Options, files ...archivetest.File) digest.Digest {
	t.Helper()
	d, err := archivetest.PushFiles(t.Context(), address, name, files, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pushByPeer has the published library put files into the registry at address.
func pushByPeer(t *testing.T, address, name string, c peer.Compression, files ...archivetest.File) digest.Digest {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := peer.Push(t.Context(), address+"/"+name, dir, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// file is a file of bytes that don't compress; equal seeds give equal bytes.
func file(path string, seed uint64, size int64) archivetest.File {
	return archivetest.File{Path: path, Content: tiled(seed, size)}
}

// content is the bytes of a file.
func content(f archivetest.File) []byte {
	if f.Content != nil {
		return archivetest.Bytes(f.Content)
	}
	return f.Data
}

// tile is the unit of tiled content.
const tile = 64 << 10

// tiled is size bytes that come cheap, gigabytes of them under the race detector too: one random tile over and over,
// each with its number in front.
func tiled(seed uint64, size int64) *io.SectionReader {
	t := &tiles{data: archivetest.Bytes(archivetest.Random(seed, tile))}
	return io.NewSectionReader(t, 0, size)
}

type tiles struct{ data []byte }

func (t *tiles) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		in := int(at % tile)
		if in < 8 {
			var number [8]byte
			binary.BigEndian.PutUint64(number[:], uint64(at/tile))
			n += copy(p[n:], number[in:])
			continue
		}
		n += copy(p[n:], t.data[in:])
	}
	return len(p), nil
}

// part is length bytes of a file from offset.
func part(t *testing.T, f archivetest.File, offset, length int64) []byte {
	t.Helper()
	return readAll(t, io.NewSectionReader(f.Content, offset, length))
}

// sum is a digest for bytes that are too many to keep.
func sum(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
