package cache

import (
	"context"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
)

// Indexes holds archives' indexes: those that archives carry, by digest, and those that we derived, by what they were
// derived from, by whom, and in which version.
type Indexes struct{ class *store.Class }

// Get returns the index d.
func (x *Indexes) Get(d digest.Digest) ([]byte, bool) {
	if valid(d) != nil {
		return nil, false
	}
	raw, err := x.class.Get(store.KeyOf(d), isBytesOf(d))
	return raw, err == nil
}

// Put keeps the index d, durably. It fails with fault.DigestMismatch for what is not d's bytes, and with the store's
// errors.
func (x *Indexes) Put(ctx context.Context, d digest.Digest, raw []byte) error {
	if err := valid(d); err != nil {
		return err
	}
	if err := isBytesOf(d)(raw); err != nil {
		return fault.Wrap(fault.DigestMismatch, err, "index %s", d)
	}
	return kept(x.class.Put(ctx, store.KeyOf(d), raw))
}

// Contains reports whether the index d seems to be here, without reading it.
func (x *Indexes) Contains(d digest.Digest) bool {
	return valid(d) == nil && x.class.Contains(store.KeyOf(d))
}

// Create begins the index d of size bytes, for which room is made first. The caller commits only what is d. It fails with
// store.ErrTooLarge, ErrNoSpace or ErrOff where it can't be kept.
func (x *Indexes) Create(ctx context.Context, d digest.Digest, size int64) (*store.Writer, error) {
	if err := valid(d); err != nil {
		return nil, err
	}
	return x.class.Create(ctx, store.KeyOf(d), size)
}

// What a table of a bundle's members is kept under: an artifact that has the bundle has the table too.
const (
	MembersDeriver = "members"
	MembersVersion = 1
)

func derivedParts(source digest.Digest, deriver string, version int) []string {
	return []string{"index", source.String(), deriver, strconv.Itoa(version)}
}

// GetDerived returns the index that deriver made of source in this version.
func (x *Indexes) GetDerived(source digest.Digest, deriver string, version int) ([]byte, bool) {
	return getRecord(x.class, derivedParts(source, deriver, version))
}

// PutDerived keeps an index that deriver made of source, durably. Version is the deriver's: it must change whenever the
// same source would give another index.
func (x *Indexes) PutDerived(ctx context.Context, source digest.Digest, deriver string, version int, raw []byte) error {
	if err := valid(source); err != nil {
		return err
	}
	return putRecord(ctx, x.class, derivedParts(source, deriver, version), raw)
}
