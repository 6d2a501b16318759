package blobfmt

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Limits bound what Decode takes on; zero values are the defaults.
type Limits struct {
	IndexBytes int64 // 64 MiB: about 450,000 files; the published writer stops at 200,000
	Entries    int   // 1,000,000: to sort as many that a hostile index has in the worst order takes some seconds
}

const (
	defaultIndexBytes = 64 << 20
	defaultEntries    = 1_000_000

	// No entry takes less of an index than this: its slot in the vector (4 bytes), its table with the two required fields
	// (4+4+4) and a path of its own (4+1). It keeps what is allocated to a small multiple of what was sent.
	minEntryBytes = 21

	sumSize = 32 // sha256
)

// The slots of the format's two tables.
const (
	indexVersion = iota
	indexHashAlgorithm
	indexEntries
	indexDataSize
	indexDataHash
)

const (
	entryPath = iota
	entryDataOffset
	entryDataSize
	entryOriginalSize
	entryHash
	entryMode
	entryUID
	entryGID
	entryModTime
	entryCompression
)

// Decode reads an index whose data layer is data. It checks everything that can be checked without the data: each
// offset inside raw, each entry's range inside the data layer, the paths (archive.NewTree), and that index and manifest
// mean the same data. In the tree each file of a size above 0 has a Range of a length above 0, and an empty one has
// none to fetch. It fails with fault.IndexInvalid, naming the entry and what is wrong with it. The tree keeps raw, which
// nobody may change any more, and four bytes for each entry.
func Decode(raw []byte, data oci.Descriptor, lim Limits) (*archive.Tree, error) {
	if lim.IndexBytes <= 0 {
		lim.IndexBytes = defaultIndexBytes
	}
	if lim.Entries <= 0 {
		lim.Entries = defaultEntries
	}
	if int64(len(raw)) > lim.IndexBytes {
		return nil, fault.New(fault.IndexInvalid, "index: it has %d bytes, more than the %d allowed", len(raw), lim.IndexBytes).
			Try("raise max_index_size")
	}
	r := &reader{buf: raw}
	root := r.table(r.follow(0))
	slots, count, ok := r.vector(root, indexEntries, 4)
	switch {
	case r.outside:
		return nil, invalid("index", "an offset in its root points outside it")
	case !ok:
		return nil, invalid("index", "it has no entries, not even an empty list")
	case count > int64(lim.Entries):
		return nil, invalid("index", "it has %d entries, more than the %d allowed", count, lim.Entries)
	case count > int64(len(raw))/minEntryBytes:
		return nil, invalid("index", "its %d bytes can't hold %d entries", len(raw), count)
	}
	if err := checkRoot(r, root, data); err != nil {
		return nil, err
	}
	pathBytes := 0
	for i := range count {
		var e archive.Entry
		if err := decodeEntry(r, slots+4*i, &e, &data); err != nil {
			name := fmt.Sprintf("entry %d", i)
			if e.Path != "" {
				name = fmt.Sprintf("entry %.256q", e.Path)
			}
			return nil, invalid(name, "%w", err)
		}
		if pathBytes += len(e.Path); pathBytes > len(raw) {
			return nil, invalid("index", "its entries share the bytes of their paths")
		}
	}
	return archive.NewTree(&entries{raw: raw, slots: slots, count: int(count), data: &data})
}

// DecodeBytes is the most memory that an index of size bytes takes while it is decoded, and the tree that is made of it:
// the index, four bytes an entry for the order, and 24 to sort.
func DecodeBytes(size int64, entries int) int64 {
	return size + 28*min(int64(entries), size/minEntryBytes)
}

// checkRoot compares what the index says about itself and its data with what we can read and with the manifest.
func checkRoot(r *reader, root table, data oci.Descriptor) error {
	version := r.field(root, indexVersion, 4, 1)
	algorithm := r.field(root, indexHashAlgorithm, 1, 0)
	size := r.field(root, indexDataSize, 8, 0)
	at, n, ok := r.vector(root, indexDataHash, 1)
	hash := r.bytes(at, n)
	switch {
	case r.outside:
		return invalid("index", "an offset in its root points outside it")
	case version != 1:
		return invalid("index", "version %d is unknown", version)
	case algorithm != 0:
		return invalid("index", "hash algorithm %d is unknown", algorithm)
	case data.Size < 0:
		return invalid("index", "its data layer has the size %d", data.Size)
	case !ok || n == 0: // without a hash the index says nothing about the data; the manifest does
		return nil
	case n != sumSize:
		return invalid("index", "its data hash has %d bytes, not %d", n, sumSize)
	case size != uint64(data.Size):
		return invalid("index", "it says that the data has %d bytes, the manifest says %d", size, data.Size)
	case strings.HasPrefix(string(data.Digest), "sha256:") && data.Digest != digest.NewDigestFromBytes(digest.SHA256, hash):
		return invalid("index", "it says that the data is sha256:%x, the manifest says %s", hash, data.Digest)
	}
	return nil
}

// decodeEntry reads the entry whose offset stands at slot; its path shares the index's memory. It leaves e.Path set, as
// far as it could be read, when it fails.
func decodeEntry(r *reader, slot int64, e *archive.Entry, data *oci.Descriptor) error {
	t := r.table(r.follow(slot))
	at, n, _ := r.vector(t, entryPath, 1)
	if n > archive.MaxPath {
		return fmt.Errorf("its path has %d bytes, more than %d", n, archive.MaxPath)
	}
	e.Path = text(r.bytes(at, n))
	at, n, _ = r.vector(t, entryHash, 1)
	if !r.outside && n != sumSize {
		return fmt.Errorf("its hash has %d bytes, not %d", n, sumSize)
	}
	copy(e.Sum[:], r.bytes(at, n))
	e.HasSum = true
	offset := r.field(t, entryDataOffset, 8, 0)
	length := r.field(t, entryDataSize, 8, 0)
	size := r.field(t, entryOriginalSize, 8, 0)
	e.Mode = fs.FileMode(r.field(t, entryMode, 4, 0)) & fs.ModePerm
	e.UID = uint32(r.field(t, entryUID, 4, 0))
	e.GID = uint32(r.field(t, entryGID, 4, 0))
	e.ModTime = int64(r.field(t, entryModTime, 8, 0))
	compression := r.field(t, entryCompression, 1, 0)
	codec := archive.Codec(compression) // the format's numbers are ours: 0 stored, 1 zstd
	switch total := uint64(data.Size); {
	case r.outside:
		return errors.New("an offset points outside the index")
	case compression > uint64(archive.Zstd):
		return fmt.Errorf("compression %d is unknown", compression)
	case size > math.MaxInt64:
		return fmt.Errorf("its size %d is impossible", size)
	case offset > total || length > total-offset:
		return fmt.Errorf("its %d bytes from %d are outside the data of %d", length, offset, total)
	case codec == archive.Stored && length != size:
		return fmt.Errorf("it is stored as %d bytes but has %d", length, size)
	case codec == archive.Zstd && length == 0 && size != 0:
		return fmt.Errorf("it has %d bytes but no zstd frame", size)
	}
	if size == 0 {
		length = 0 // there is nothing to fetch, even if some writer frames an empty file
	}
	e.Size = int64(size)
	e.Locator = archive.Range{Blob: data, Offset: int64(offset), Length: int64(length), Codec: codec}
	return nil
}

func invalid(what, why string, args ...any) error {
	return fault.Wrap(fault.IndexInvalid, fmt.Errorf(why, args...), "%s", what)
}
