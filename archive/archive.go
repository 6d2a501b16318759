// Package archive is what is inside an artifact: a tree of entries, and where each entry's bytes are. It is data only:
// readers of the formats (archive/blobfmt, archive/spin, archive/files) turn bytes into a Tree; nothing here fetches or
// stores.
package archive

import (
	"encoding/hex"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

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

// PlainMode is the mode of a file whose format carries none.
const PlainMode fs.FileMode = 0o644

// BlobEntry is a file that is a blob of its own, as formats say it that know nothing else about a file. It has a sum
// unless the blob's digest is another than a sha256.
func BlobEntry(path string, blob *oci.Descriptor) Entry {
	sum, ok := SHA256(blob.Digest)
	return Entry{
		Path: path, Size: blob.Size, Mode: PlainMode, Sum: sum, HasSum: ok,
		Locator: Range{Blob: blob, Length: blob.Size, Codec: Stored, Whole: true},
	}
}

// SHA256 returns the bytes of a digest; ok is false where it is not a valid sha256.
func SHA256(d digest.Digest) (sum [32]byte, ok bool) {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(d.Encoded()))
	return sum, err == nil
}

// Locator is where an entry's bytes are. The set is closed: Inline, Range and Member.
type Locator interface{ locator() }

// Inline says that the bytes stand in the index itself.
type Inline struct{ Data []byte }

// Range says that the bytes are Length bytes of Blob from Offset, encoded by Codec.
type Range struct {
	Blob   *oci.Descriptor
	Offset int64
	Length int64
	Codec  Codec
	Whole  bool // by its format the blob is this file and nothing else: all of it, stored
}

// Member says that the bytes are Entry.Size bytes from Offset of the tar stream that Blob, a gzip, decodes to. The entry
// has a sum, always.
type Member struct {
	Blob   *oci.Descriptor
	Offset int64 // of the member's data, behind its header
}

func (Inline) locator() {}
func (Range) locator()  {}
func (Member) locator() {}

// Codec is how a range's bytes become an entry's.
type Codec uint8

const (
	Stored  Codec = iota // as they are
	Zstd                 // one zstd frame; an empty entry has no frame at all
	TarGzip              // a gzip of a tar that the entry is a member of
)
