// Package archive is what is inside an artifact: a tree of entries, and where each entry's bytes are. It is data only:
// readers of the formats (archive/blobfmt) turn bytes into a Tree; nothing here fetches or stores.
package archive

import (
	"io/fs"
	"time"

	"github.com/blobd/blobd/internal/oci"
)

// Entry is one file of an archive. Folders have no entries: they follow from the paths.
type Entry struct {
	Path    string      // satisfies fs.ValidPath and is not "."
	Size    int64       // uncompressed, in bytes
	Mode    fs.FileMode // permission bits only
	UID     uint32
	GID     uint32
	ModTime int64 // Unix nanoseconds
	// Sum is the sha256 of the uncompressed bytes that the index claims; HasSum is false where it claims none.
	Sum     [32]byte
	HasSum  bool
	Locator Locator
}

// Time is the entry's modification time in UTC.
func (e *Entry) Time() time.Time { return time.Unix(0, e.ModTime).UTC() }

// Locator is where an entry's bytes are. The set is closed: Inline and Range today; a member of a decoded blob and a
// URL with a digest come with the formats that need them.
type Locator interface{ locator() }

// Inline says that the bytes stand in the index itself.
type Inline struct{ Data []byte }

// Range says that the bytes are Length bytes of Blob from Offset, encoded by Codec.
type Range struct {
	Blob   *oci.Descriptor
	Offset int64
	Length int64
	Codec  Codec
}

func (Inline) locator() {}
func (Range) locator()  {}

// Codec is how a range's bytes become an entry's.
type Codec uint8

const (
	Stored Codec = iota // as they are
	Zstd                // one zstd frame; an empty entry has no frame at all
)
