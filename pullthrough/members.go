package pullthrough

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

const (
	// What the bundles of an artifact may hold: a hundred times what Spin puts into one. The table of the largest takes up
	// to membersBytes while it is made, of the 44 MiB that the room to decode has at the least.
	maxMembers     = 50_000
	maxMemberNames = 4 << 20
	membersBytes   = 32 << 20
	maxTables      = maxMembers*80 + maxMemberNames

	// memberBytes is what a member takes of a table that is made, beside its name: itself and its sum, twice as their lists
	// grow, and its place among the names.
	memberBytes = 320
	// claimBytes is how large a member may say that it is and have room made for that; of a larger one, room is made for what
	// comes. What a header says costs nothing to say, and others' files would go for it.
	claimBytes = 1 << 20
	// someBytes is the share for a table of some 30,000 members, four of which are made at once where room is least.
	someBytes = 8 << 20
	// tableCost is what one byte of a table that is kept takes of memory at most: a member with a short name.
	tableCost = 4
)

// bundleLimits bound what is unpacked.
func bundleLimits() bundle.Limits { return bundle.Limits{Members: maxMembers, Names: maxMemberNames} }

// errMany says that a bundle has more members than there is room for.
var errMany = errors.New("too many members")

// tables has the cache know what is in bundles, which are decoded for that where it does not, and returns what their
// members will take of memory.
func (s *Service) tables(ctx context.Context, scope oci.Scope, bundles []oci.Descriptor) (memory int64, err error) {
	for _, b := range bundles {
		more, err := s.table(ctx, scope, b)
		if err != nil {
			return 0, err
		}
		if memory += more; memory > tableCost*maxTables {
			return 0, fault.New(fault.IndexInvalid, "bundle %s: with the bundles before it, it has more than %d members", b.Digest, maxMembers)
		}
	}
	return memory, nil
}

// table is tables for one bundle.
func (s *Service) table(ctx context.Context, scope oci.Scope, b oci.Descriptor) (int64, error) {
	if memory, ok := s.keptTables([]oci.Descriptor{b}); ok {
		return memory, nil
	}
	return s.deriving.do(ctx, objectKey{scope: scope, digest: b.Digest}, func(ctx context.Context) (int64, error) {
		raw, err := s.derive(ctx, scope, b, false)
		if errors.Is(err, fault.DigestMismatch) {
			raw, err = s.derive(ctx, scope, b, true) // once more, past the cache
		}
		if err != nil {
			s.denied(scope, err)
			return 0, err
		}
		_ = s.caches.Indexes.PutDerived(ctx, b.Digest, cache.MembersDeriver, cache.MembersVersion, raw)
		return tableCost * int64(len(raw)), nil
	})
}

// derive makes a bundle's table, and keeps its members. Until all of the bundle has come it takes little of the room to
// decode: a registry may be slow.
func (s *Service) derive(ctx context.Context, scope oci.Scope, b oci.Descriptor, fresh bool) ([]byte, error) {
	var members []bundle.Member
	var err error
	for _, share := range []int64{decoderBytes, someBytes, membersBytes} {
		keeper := memberKeeper{svc: s, ctx: ctx, scope: scope}
		members, err = s.readMembers(ctx, scope, b, fresh, share, keeper.keep)
		if !errors.Is(err, errMany) {
			if errors.Is(err, fault.DigestMismatch) || errors.Is(err, fault.IndexInvalid) {
				keeper.undo()
			}
			break
		}
		fresh = false // all of it has come
	}
	return bundle.Marshal(members), err
}

// readMembers decodes a bundle to its end, with so much of the room to decode; 0 is of somebody who has room. It fails
// with errMany where that is not enough. Each member is shown to keep, which may be nil.
func (s *Service) readMembers(
	ctx context.Context, scope oci.Scope, b oci.Descriptor, fresh bool, share int64, keep func(*bundle.Member, io.Reader) error,
) ([]bundle.Member, error) {
	r := s.openBundle(ctx, scope, b, fresh)
	defer r.close()
	if err := r.begin(); err != nil {
		return nil, err
	}
	room, err := s.decodeRoom.take(ctx, share)
	if err != nil {
		return nil, err
	}
	defer room.release()
	left := share - share/4 // the rest is the decoder's
	members, err := bundle.Read(r, &b, bundleLimits(), func(m *bundle.Member, content io.Reader) error {
		left -= memberBytes + int64(len(m.Name))
		if left < 0 && share > 0 && share < membersBytes {
			if !room.tryGrow(decoderBytes) {
				return errMany
			}
			share += decoderBytes
			left += decoderBytes
		}
		if keep == nil || m.Size == 0 {
			return nil
		}
		return keep(m, content)
	})
	if cause := r.check(); cause != nil {
		return nil, cause
	}
	if err == nil && r.blob.partial != nil && keep != nil {
		r.blob.partial.Demote()
	}
	return members, err
}

// memberKeeper brings the members of a bundle into the content cache while they pass, so that a bundle is decoded once.
type memberKeeper struct {
	svc   *Service
	ctx   context.Context
	scope oci.Scope
	kept  [][32]byte
}

// keep writes m into the content cache if there is room for it; else it stays in the bundle.
func (k *memberKeeper) keep(m *bundle.Member, content io.Reader) error {
	c := k.svc.caches
	size := m.Size
	if size > claimBytes {
		size = -1
	}
	w, err := c.Content.Begin(k.ctx, size)
	if err != nil {
		return k.ctx.Err()
	}
	defer w.Close()
	disk := diskWriter{w: w}
	if _, err := io.Copy(&disk, content); disk.err != nil {
		return k.ctx.Err()
	} else if err != nil {
		return err
	}
	d := digest.NewDigestFromBytes(digest.SHA256, m.Sum[:])
	if !c.Content.Contains(d) {
		if w.CommitAs(store.KeyOf(d)) != nil {
			return nil
		}
		k.kept = append(k.kept, m.Sum)
	}
	c.Catalogue.Prove(k.scope, d)
	return nil
}

// undo forgets what was kept of a bundle that turned out to be bad.
func (k *memberKeeper) undo() {
	for _, sum := range k.kept {
		k.svc.caches.Content.Forget(digest.NewDigestFromBytes(digest.SHA256, sum[:]))
	}
}

// keptTables is tables from the cache alone; ok is false where it does not know all of them.
func (s *Service) keptTables(bundles []oci.Descriptor) (memory int64, ok bool) {
	for _, b := range bundles {
		raw, ok := s.caches.Indexes.GetDerived(b.Digest, cache.MembersDeriver, cache.MembersVersion)
		if !ok {
			return 0, false
		}
		memory += tableCost * int64(len(raw))
	}
	return memory, true
}

// keptMembers returns what is in a bundle as the cache knows it.
func (s *Service) keptMembers(b oci.Descriptor) ([]bundle.Member, bool) {
	raw, ok := s.caches.Indexes.GetDerived(b.Digest, cache.MembersDeriver, cache.MembersVersion)
	if !ok {
		return nil, false
	}
	members, err := bundle.Unmarshal(raw, &b)
	return members, err == nil
}

// bundleReader reads a bundle through its blocks, and checks its digest at its end.
type bundleReader struct {
	*blockReader
	verifier io.Writer
	verified func() bool
	err      error // that of the blocks
}

// openBundle starts reading b. With fresh set, what is cached of it is dropped first.
func (s *Service) openBundle(ctx context.Context, scope oci.Scope, b oci.Descriptor, fresh bool) *bundleReader {
	shared := s.blobs.acquire(b)
	if fresh {
		shared.forget(0, b.Size)
	}
	v := b.Digest.Verifier()
	return &bundleReader{blockReader: s.newBlockReader(ctx, shared, scope, 0, b.Size), verifier: v, verified: v.Verified}
}

func (r *bundleReader) Read(p []byte) (int, error) {
	n, err := r.blockReader.Read(p)
	_, _ = r.verifier.Write(p[:n])
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// check reads what is left and reports what was wrong with the bundle's bytes, which says more than what they decoded
// to: that they did not come, or that they are others than its digest names. Then they are forgotten.
func (r *bundleReader) check() error {
	if r.err == nil {
		_, _ = io.Copy(io.Discard, r)
	}
	switch {
	case r.err != nil:
		return r.err
	case !r.verified():
		r.blob.forget(0, r.blob.desc.Size)
		return fault.New(fault.DigestMismatch, "bundle %s: its bytes have another digest", r.blob.desc.Digest).
			Try("if it stays so, the artifact or its registry is damaged: push it again")
	}
	return nil
}
