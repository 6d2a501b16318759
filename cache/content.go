package cache

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
)

// Content holds whole files, uncompressed, by their digest; blobs that are one file each live here too.
type Content struct{ class *store.Class }

// Open opens the file d; close it, since it can't be evicted meanwhile. It fails with store.ErrNotFound where it is not
// here or is not what it should be.
func (c *Content) Open(d digest.Digest) (*store.Object, error) {
	if err := valid(d); err != nil {
		return nil, err
	}
	return c.class.Open(store.KeyOf(d), isDigest(d))
}

// Create begins the file d of size bytes (-1: not known), for which room is made first. The caller hashes what it
// writes, and commits only when that is d. It fails with store.ErrTooLarge, ErrNoSpace or ErrOff where the file can't be
// kept: then it is passed through.
func (c *Content) Create(ctx context.Context, d digest.Digest, size int64) (*store.Writer, error) {
	if err := valid(d); err != nil {
		return nil, err
	}
	return c.class.Create(ctx, store.KeyOf(d), size)
}

// Begin is Create for a file whose digest is known only when all of it has passed: then CommitAs(store.KeyOf(digest))
// keeps it.
func (c *Content) Begin(ctx context.Context, size int64) (*store.Writer, error) {
	return c.class.Create(ctx, store.Key{}, size)
}

// Contains reports whether the file d seems to be here, without opening it.
func (c *Content) Contains(d digest.Digest) bool {
	return valid(d) == nil && c.class.Contains(store.KeyOf(d))
}

// Remove drops the file d, whose reader found that it is not what it should be.
func (c *Content) Remove(d digest.Digest) {
	if valid(d) == nil {
		_, _ = c.class.Remove(store.KeyOf(d), store.ReasonCorrupt) // what can't be removed is found out again
	}
}

// Forget drops the file d, which is as it should be.
func (c *Content) Forget(d digest.Digest) {
	if valid(d) == nil {
		_, _ = c.class.Remove(store.KeyOf(d), store.ReasonRemoved) // what can't be removed goes when its time comes
	}
}

// Blocks holds blobs that hold files, as far as their blocks have come.
type Blocks struct{ class *store.Class }

// Open opens the blob d of size bytes; close it, since it can't be evicted meanwhile. Where it is not here it is made if
// create says so, and store.ErrNotFound otherwise; where blocks of a blob of another size are here it is
// store.ErrOtherSize, and they stay.
func (b *Blocks) Open(d digest.Digest, size int64, create bool) (*store.Partial, error) {
	if err := valid(d); err != nil {
		return nil, err
	}
	return b.class.OpenPartial(store.KeyOf(d), size, create)
}
