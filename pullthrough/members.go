package pullthrough

import (
	"context"
	"errors"
	"io"

	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// What a bundle may hold: many times what Spin puts into one, and what membersBytes has room for.
const (
	maxMembers     = 100_000
	maxMemberNames = 8 << 20
	// membersBytes is what the table of the largest bundle takes while it is made.
	membersBytes = 32 << 20
)

// bundleLimits bound what is unpacked.
func bundleLimits() bundle.Limits { return bundle.Limits{Members: maxMembers, Names: maxMemberNames} }

// members returns what is in a bundle, from the cache, else by decoding all of it.
func (s *Service) members(ctx context.Context, scope oci.Scope, b oci.Descriptor, fresh bool) ([]bundle.Member, error) {
	if !fresh {
		if members, ok := s.keptMembers(b); ok {
			return members, nil
		}
	}
	return s.tables.do(ctx, objectKey{scope, b.Digest, fresh}, func(ctx context.Context) ([]bundle.Member, error) {
		room, err := s.decodeRoom.take(ctx, membersBytes)
		if err != nil {
			return nil, err
		}
		defer room.release()
		members, err := s.readMembers(ctx, scope, b, fresh)
		if errors.Is(err, fault.DigestMismatch) {
			members, err = s.readMembers(ctx, scope, b, true) // once more, past the cache
		}
		if err != nil {
			s.denied(scope, err)
			return nil, err
		}
		_ = s.caches.Indexes.PutDerived(ctx, b.Digest, cache.MembersDeriver, cache.MembersVersion, bundle.Marshal(members))
		return members, nil
	})
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

func (s *Service) readMembers(ctx context.Context, scope oci.Scope, b oci.Descriptor, fresh bool) ([]bundle.Member, error) {
	r := s.openBundle(ctx, scope, b, fresh)
	defer r.close()
	members, err := bundle.Read(r, &b, bundleLimits(), nil)
	if cause := r.check(); cause != nil {
		return nil, cause
	}
	return members, err
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
	_, _ = io.Copy(io.Discard, r)
	switch {
	case r.err != nil:
		return r.err
	case !r.verified():
		r.blob.forget(0, r.blob.desc.Size)
		return fault.New(fault.DigestMismatch, "blob %s: its bytes have another digest", r.blob.desc.Digest).
			Try("if it stays so, the artifact or its registry is damaged: push it again")
	}
	return nil
}
