package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// magic begins a table; its last byte is the version. A table of another version is derived anew.
const magic = "bmt\x01"

// minMember is the least that a member takes of a table: a length, a name, four numbers and a sum. It keeps what is
// allocated to a small multiple of what was read.
const minMember = 1 + 1 + 4 + 32

// Marshal writes down what Read found, all but the blob, which is the same for all of them. The order is kept.
func Marshal(members []Member) []byte {
	raw := binary.AppendUvarint([]byte(magic), uint64(len(members)))
	for i := range members {
		m := &members[i]
		raw = binary.AppendUvarint(raw, uint64(len(m.Name)))
		raw = append(raw, m.Name...)
		raw = binary.AppendUvarint(raw, uint64(m.Offset))
		raw = binary.AppendUvarint(raw, uint64(m.Size))
		raw = binary.AppendUvarint(raw, uint64(m.Mode))
		raw = binary.AppendVarint(raw, m.ModTime)
		raw = append(raw, m.Sum[:]...)
	}
	return raw
}

// Unmarshal reads what Marshal wrote about blob. It fails with fault.IndexInvalid unless raw is a table that Read could
// have led to. The members keep nothing of raw.
func Unmarshal(raw []byte, blob *oci.Descriptor) ([]Member, error) {
	members, err := unmarshal(raw, blob)
	if err != nil {
		return nil, fault.Wrap(fault.IndexInvalid, err, "table of the members of %s", blob.Digest)
	}
	return members, nil
}

func unmarshal(raw []byte, blob *oci.Descriptor) ([]Member, error) {
	if len(raw) < len(magic) || string(raw[:len(magic)]) != magic {
		return nil, errors.New("it is not one, or of another version")
	}
	t := table{rest: raw[len(magic):]}
	count := t.uvarint()
	if count > uint64(len(t.rest)/minMember) {
		return nil, fmt.Errorf("its %d bytes can't hold %d members", len(raw), count)
	}
	if t.short {
		return nil, errCut
	}
	members := make([]Member, count)
	names := make(map[string]struct{}, count)
	var end int64 // of the data of the member before
	for i := range members {
		name := string(t.bytes(t.uvarint()))
		offset, size, mode, modTime := t.uvarint(), t.uvarint(), t.uvarint(), t.varint()
		m := Member{Name: name, Blob: blob, Offset: int64(offset), Size: int64(size), Mode: fs.FileMode(mode), ModTime: modTime}
		copy(m.Sum[:], t.bytes(uint64(len(m.Sum))))
		if t.short {
			return nil, errCut
		}
		if err := archive.CheckPath(name); err != nil {
			return nil, fmt.Errorf("member %.256q: %w", name, err)
		}
		if _, twice := names[name]; twice {
			return nil, fmt.Errorf("member %.256q: it stands twice in it", name)
		}
		names[name] = struct{}{}
		if offset > math.MaxInt64 || size > math.MaxInt64-offset || m.Offset < end || mode > uint64(fs.ModePerm) {
			return nil, fmt.Errorf("member %.256q: %d bytes from %d with mode %#o is impossible", name, size, offset, mode)
		}
		end = m.Offset + m.Size
		members[i] = m
	}
	if len(t.rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow its end", len(t.rest))
	}
	return members, nil
}

var errCut = errors.New("it is cut off")

// table reads a table from its beginning; the first read past its end sets short, and from then on all is zero.
type table struct {
	rest  []byte
	short bool
}

func (t *table) uvarint() uint64 {
	v, n := binary.Uvarint(t.rest)
	t.skip(n)
	return v
}

func (t *table) varint() int64 {
	v, n := binary.Varint(t.rest)
	t.skip(n)
	return v
}

// skip moves on by what a number took, which is nothing where there was none.
func (t *table) skip(n int) {
	if n <= 0 {
		t.short, t.rest, n = true, nil, 0
	}
	t.rest = t.rest[n:]
}

func (t *table) bytes(n uint64) []byte {
	if n > uint64(len(t.rest)) {
		t.short, t.rest = true, nil
		return nil
	}
	b := t.rest[:n]
	t.rest = t.rest[n:]
	return b
}
