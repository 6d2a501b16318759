package pullthrough

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// unpacking is one decoding of a bundle that brings all its files into the content cache. Whoever wants one of them
// follows it until that file has passed; it goes on to the end when they have gone, unless nobody comes for lingerTime.
type unpacking struct {
	svc    *Service
	bundle oci.Descriptor
	scope  oci.Scope
	fresh  bool
	wanted []*archive.Entry // those of one tree that are in it, by offset
	feed   *feed            // a chunk for each of wanted
}

// unpack has the files of e's bundle brought into the content cache, and returns when e has passed: whether the cache
// has it then is for the caller to see. An error is that of ctx, or of the bundle.
func (s *Service) unpack(ctx context.Context, a *Archive, e *archive.Entry, fresh bool) error {
	for {
		u, fo := s.joinUnpacking(a, *e.Locator.(archive.Member).Blob, fresh)
		place, ok := slices.BinarySearchFunc(u.wanted, e, byOffset)
		if !ok {
			place = len(u.wanted) // it is not what another tree wants of this bundle
		}
		_, err := u.feed.await(ctx, fo, place)
		u.feed.leave(fo)
		if !errors.Is(err, errDeserted) || ctx.Err() != nil {
			return err
		}
	}
}

func byOffset(a, b *archive.Entry) int {
	return cmp.Compare(a.Locator.(archive.Member).Offset, b.Locator.(archive.Member).Offset)
}

// joinUnpacking follows the unpacking of a bundle from its start, beginning one where there is none.
func (s *Service) joinUnpacking(a *Archive, b oci.Descriptor, fresh bool) (*unpacking, *follower) {
	key := objectKey{a.scope, b.Digest, fresh}
	s.unpackMu.Lock()
	defer s.unpackMu.Unlock()
	if u, ok := s.unpackings[key]; ok {
		if fo, ok := u.feed.join(0); ok {
			s.obs.FlightJoined()
			return u, fo
		}
	}
	u := &unpacking{svc: s, bundle: b, scope: a.scope, fresh: fresh}
	for e := range a.Tree.All() {
		if m, ok := e.Locator.(archive.Member); ok && m.Blob.Digest == b.Digest {
			u.wanted = append(u.wanted, e)
		}
	}
	slices.SortFunc(u.wanted, byOffset)
	ctx, cancel := context.WithCancel(s.base)
	u.feed = newLingeringFeed(s.decodeRoom, cancel)
	fo, _ := u.feed.join(0)
	s.unpackings[key] = u
	s.goes(func() {
		defer cancel()
		u.run(ctx, key)
	})
	return u, fo
}

func (u *unpacking) run(ctx context.Context, key objectKey) {
	s := u.svc
	defer s.flies()()
	_, err := guard(func() (struct{}, error) { return struct{}{}, u.transfer(ctx) })
	err = s.outcome(ctx, err)
	s.unpackMu.Lock()
	if s.unpackings[key] == u {
		delete(s.unpackings, key)
	}
	s.unpackMu.Unlock()
	u.feed.end(err)
}

// transfer decodes the bundle and keeps what is wanted of it.
func (u *unpacking) transfer(ctx context.Context) error {
	s := u.svc
	room, err := s.decodeRoom.take(ctx, decoderBytes)
	if err != nil {
		return err
	}
	defer room.release()
	r := s.openBundle(ctx, u.scope, u.bundle, u.fresh)
	defer r.close()
	next := 0
	_, err = bundle.Read(r, &u.bundle, bundleLimits(), func(m *bundle.Member, content io.Reader) error {
		if next == len(u.wanted) || u.wanted[next].Locator.(archive.Member).Offset != m.Offset {
			return nil
		}
		err := u.keep(ctx, u.wanted[next], content, r.blob)
		next++
		u.feed.publish()
		return err
	})
	if cause := r.check(); cause != nil {
		return cause
	}
	return err
}

// keep writes one file into the content cache, if it is what the tree says and the cache has room.
func (u *unpacking) keep(ctx context.Context, e *archive.Entry, content io.Reader, b *blob) error {
	s := u.svc
	if !u.fresh && s.caches.Content.Contains(sumDigest(e)) {
		return nil
	}
	w, err := s.create(ctx, e)
	if err != nil {
		return ctx.Err() // it stays in the bundle
	}
	defer w.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(content, e.Size))
	if err != nil {
		return ctx.Err() // of the disk; what is wrong with the bundle, its reader says
	}
	if n != e.Size || [32]byte(sum.Sum(nil)) != e.Sum {
		return fault.New(fault.DigestMismatch, "file %q in blob %s: its sha256 is not the one in its index", e.Path, u.bundle.Digest)
	}
	s.kept(w.Commit(), u.scope, e, b)
	return nil
}
