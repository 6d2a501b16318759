package pullthrough

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/cache/store"
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
	ctx    context.Context  // of its work
	land   func(error)      // ends what the tracer knows of it
	wanted []*archive.Entry // those of one tree that are in it, by offset; of those that share a member, one
	feed   *feed            // a chunk for each of wanted
}

// unpack has the files of e's bundle brought into the content cache, and returns when e has passed: whether the cache
// has it then is for the caller to see. An error is that of ctx, or of the bundle.
func (s *Service) unpack(ctx context.Context, a *Archive, e *archive.Entry, fresh bool) error {
	for {
		u, fo := s.joinUnpacking(ctx, a, *e.Locator.(archive.Member).Blob, fresh)
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

func byOffset(a, b *archive.Entry) int { return cmp.Compare(offsetOf(a), offsetOf(b)) }

// offsetOf is where a member's data begins in its bundle.
func offsetOf(e *archive.Entry) int64 { return e.Locator.(archive.Member).Offset }

// joinUnpacking follows the unpacking of a bundle from its start, beginning one where there is none.
func (s *Service) joinUnpacking(caller context.Context, a *Archive, b oci.Descriptor, fresh bool) (*unpacking, *follower) {
	key := objectKey{a.scope, b.Digest, fresh}
	s.unpackMu.Lock()
	defer s.unpackMu.Unlock()
	if u, ok := s.unpackings[key]; ok {
		if fo, ok := u.feed.join(0); ok {
			s.joins(caller, u.ctx)
			return u, fo
		}
	}
	u := &unpacking{svc: s, bundle: b, scope: a.scope, fresh: fresh}
	for e := range a.Tree.All() {
		if m, ok := e.Locator.(archive.Member); ok && m.Blob.Digest == b.Digest && e.Size > 0 {
			u.wanted = append(u.wanted, e)
		}
	}
	slices.SortStableFunc(u.wanted, byOffset)
	u.wanted = slices.CompactFunc(u.wanted, func(a, b *archive.Entry) bool { return offsetOf(a) == offsetOf(b) })
	ctx, cancel := context.WithCancel(s.base)
	u.ctx, u.land = s.departs(ctx, caller, "content", b.Digest.String)
	u.feed = newLingeringFeed(s.decodeRoom, cancel)
	fo, _ := u.feed.join(0)
	s.unpackings[key] = u
	s.goes(func() {
		defer cancel()
		u.run(key)
	})
	return u, fo
}

func (u *unpacking) run(key objectKey) {
	s := u.svc
	defer s.flies("content", u.bundle.Digest.String, u.feed.followers)()
	_, err := guard(func() (struct{}, error) { return struct{}{}, u.transfer(u.ctx) })
	err = s.outcome(u.ctx, err)
	u.land(err)
	s.unpackMu.Lock()
	if s.unpackings[key] == u {
		delete(s.unpackings, key)
	}
	s.unpackMu.Unlock()
	u.feed.end(err)
}

// transfer decodes the bundle and keeps what is wanted of it, which its table says where to find.
func (u *unpacking) transfer(ctx context.Context) error {
	s := u.svc
	r := s.openBundle(ctx, u.scope, u.bundle, u.fresh)
	defer r.close()
	if err := r.begin(); err != nil {
		return err
	}
	room, err := s.decodeRoom.take(ctx, decoderBytes)
	if err != nil {
		return err
	}
	defer room.release()
	err = u.keepAll(ctx, bundle.Decode(r, &u.bundle, bundleLimits()), r.blob)
	if cause := r.check(); cause != nil {
		return cause
	}
	return err
}

func (u *unpacking) keepAll(ctx context.Context, tar io.Reader, b *blob) error {
	var pos int64
	for _, e := range u.wanted {
		offset := offsetOf(e)
		if _, err := io.CopyN(io.Discard, tar, offset-pos); err != nil {
			return u.bad(e, err)
		}
		content := io.LimitReader(tar, e.Size)
		if err := u.keep(ctx, e, content, b); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return u.bad(e, err)
		}
		pos = offset + e.Size
		u.feed.publish()
	}
	return nil
}

func (u *unpacking) bad(e *archive.Entry, cause error) error {
	return fault.Wrap(fault.DigestMismatch, cause, "file %q in bundle %s: it is not what the bundle's table says", e.Path, u.bundle.Digest)
}

// keep writes one file into the content cache, or, a small one that finds no room there, into memory, if it is what the
// tree says.
func (u *unpacking) keep(ctx context.Context, e *archive.Entry, content io.Reader, b *blob) error {
	s := u.svc
	here := !u.fresh && s.caches.Content.Contains(sumDigest(e))
	if here && !s.policy.Load().TrustPerScope {
		return nil
	}
	sum := sha256.New()
	var to io.Writer = sum
	var file *store.Writer
	var data bytes.Buffer
	if !here {
		if w, err := s.create(ctx, e); err == nil {
			defer w.Close()
			file, to = w, io.MultiWriter(sum, w)
		} else if e.Size <= smallFile {
			to = io.MultiWriter(sum, &data)
		}
	}
	disk := diskWriter{w: to}
	n, err := io.Copy(&disk, content)
	if disk.err != nil {
		return ctx.Err() // it stays in the bundle
	}
	if err != nil || n != e.Size || [32]byte(sum.Sum(nil)) != e.Sum {
		return u.bad(e, err)
	}
	switch {
	case file != nil:
		s.kept(file.Commit(), u.scope, e, b)
	case here:
		s.caches.Catalogue.Prove(u.scope, sumDigest(e))
	case e.Size <= smallFile:
		s.caches.Catalogue.Prove(u.scope, sumDigest(e))
		s.remember(e, data.Bytes())
	}
	return nil
}
