package pullthrough

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

const (
	// smallFile is what is read, checked and handed out in one piece, and may live in memory: with the default memory of
	// 64 MiB at least 256 of the largest, and a read of one costs less than the round trip that asks for it.
	smallFile = 256 << 10
	// lingerTime is how long a content flight goes on without followers: a program that reads a compressed file piece by
	// piece is gone between two pieces, and would have it decoded from the start for each.
	lingerTime = 5 * time.Second
)

// contentKey names one decoding of one range into one file. The digest and size that an index claims are part of it, and
// so is where the bytes come from: a false claim must fail those who made it, and nobody else.
type contentKey struct {
	sum            [32]byte
	size           int64
	blob           digest.Digest
	offset, length int64
	codec          archive.Codec
	fresh          bool // past the caches
	unkept         bool // past the disk, which failed midway
	// scope is set for one that goes alone, since what failed before was another scope's.
	scope oci.Scope
}

func keyOf(e *archive.Entry, r archive.Range, fresh bool) contentKey {
	return contentKey{
		sum: e.Sum, size: e.Size, blob: r.Blob.Digest, offset: r.Offset, length: r.Length, codec: r.Codec, fresh: fresh,
	}
}

func sumDigest(e *archive.Entry) digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, e.Sum[:])
}

// origin says where the bytes of a decoding came from.
func origin(fetched bool) string {
	if fetched {
		return "upstream"
	}
	return "block"
}

// create makes room for e in the content cache; only what an index names by digest can be kept there.
func (s *Service) create(ctx context.Context, e *archive.Entry) (*store.Writer, error) {
	if !e.HasSum {
		return nil, store.ErrOff
	}
	return s.caches.Content.Create(ctx, sumDigest(e), e.Size)
}

// kept notes that the content cache now holds e; commitErr is what the store said.
func (s *Service) kept(commitErr error, scope oci.Scope, e *archive.Entry, b *blob) {
	if commitErr != nil {
		return
	}
	s.caches.Catalogue.Prove(scope, sumDigest(e))
	if b == nil || b.partial == nil {
		return
	}
	b.partial.Demote()
	if rangeOf(e).Whole {
		b.doubled.Store(true)
	}
}

// remember keeps a small file in memory.
func (s *Service) remember(e *archive.Entry, data []byte) {
	if e.HasSum {
		s.caches.Memory.Set(memoryContent(e), data, e.Size)
	}
}

func memoryContent(e *archive.Entry) string { return "content\x00" + string(e.Sum[:]) }

// smallContent is a small file and where it came from.
type smallContent struct {
	data  []byte
	from  string
	scope oci.Scope // whose the reading was; stands after a failure too
}

// small reads a file of at most smallFile bytes whole, checks and keeps it.
func (s *Service) small(ctx context.Context, scope oci.Scope, e *archive.Entry, rng archive.Range, fresh bool) (smallContent, error) {
	read := func(ctx context.Context) (smallContent, error) {
		c, err := s.readSmall(ctx, scope, e, rng, fresh)
		if errors.Is(err, fault.DigestMismatch) {
			c, err = s.readSmall(ctx, scope, e, rng, true) // once more, past the cache
		}
		c.scope = scope
		return c, err
	}
	key := keyOf(e, rng, fresh)
	c, err := s.smalls.do(ctx, key, read)
	if err != nil && c.scope != scope && ctx.Err() == nil {
		key.scope = scope
		c, err = s.smalls.do(ctx, key, read)
	}
	return c, err
}

func (s *Service) readSmall(ctx context.Context, scope oci.Scope, e *archive.Entry, rng archive.Range, fresh bool) (smallContent, error) {
	data := make([]byte, e.Size)
	if atOnce(e, rng) {
		if data, ok := s.keptSmall(e); ok && !fresh { // another flight may have ended since its caller looked
			return smallContent{data: data, from: "content"}, nil
		}
		if err := s.readBlob(ctx, scope, *rng.Blob, data); err != nil {
			return smallContent{}, err
		}
		s.keepSmall(ctx, scope, e, nil, data)
		return smallContent{data: data, from: "upstream"}, nil
	}
	d, err := s.decode(ctx, scope, e, rng, fresh)
	if err != nil {
		return smallContent{}, err
	}
	defer d.close(s)
	if _, err := io.ReadFull(d, data); err != nil {
		return smallContent{}, err
	}
	if err := d.finish(); err != nil {
		return smallContent{}, err
	}
	s.keepSmall(ctx, scope, e, d.blocks.blob, data)
	return smallContent{data: data, from: origin(d.blocks.fetched)}, nil
}

// keptSmall reads a small file from the content cache, where whoever asks may have what is there.
func (s *Service) keptSmall(e *archive.Entry) ([]byte, bool) {
	if !e.HasSum || s.policy.Load().TrustPerScope {
		return nil, false
	}
	obj, err := s.caches.Content.Open(sumDigest(e))
	if err != nil {
		return nil, false
	}
	defer obj.Close()
	if obj.Size() != e.Size {
		return nil, false
	}
	data := make([]byte, e.Size)
	n, _ := obj.ReadAt(data, 0)
	return data, int64(n) == e.Size
}

// readBlob reads a blob that is one small file, of which no blocks are kept.
func (s *Service) readBlob(ctx context.Context, scope oci.Scope, desc oci.Descriptor, data []byte) error {
	if desc.Size == 0 && desc.Digest == desc.Digest.Algorithm().FromBytes(nil) {
		return nil // it is known without asking
	}
	body, err := s.up.Blob(ctx, scope, desc)
	if err == nil {
		defer body.Close()
		if _, err = io.ReadFull(body, data); err != nil && err != io.EOF {
			err = ended(err, desc)
		} else {
			_, err = io.Copy(io.Discard, body) // to the end, where its digest is checked
		}
	}
	if err != nil {
		s.denied(scope, err)
	}
	return err
}

// keepSmall keeps a file whose bytes were checked, on disk and in memory.
func (s *Service) keepSmall(ctx context.Context, scope oci.Scope, e *archive.Entry, b *blob, data []byte) {
	if w, err := s.create(ctx, e); err == nil {
		if _, err := w.Write(data); err == nil {
			s.kept(w.Commit(), scope, e, b)
		}
		w.Close()
	}
	s.remember(e, data)
}

// contentFlight is one decoding of a larger file that several readers follow while it grows.
type contentFlight struct {
	svc   *Service
	key   contentKey
	entry *archive.Entry
	rng   archive.Range
	scope oci.Scope
	ctx   context.Context // of its work
	land  func(error)     // ends what the tracer knows of it
	feed  *feed

	// Written by the flight before its first chunk is published, and read by followers after that.
	file *store.Writer // nil where the content can't be kept
	from string        // set before the feed ends

	users int // the flight itself and its followers; guarded by svc.contentMu
}

// joinContent follows the flight for e from its start, beginning one where there is none that can still be followed.
func (s *Service) joinContent(
	caller context.Context, key contentKey, scope oci.Scope, e *archive.Entry, rng archive.Range,
) (*contentFlight, *follower) {
	s.contentMu.Lock()
	defer s.contentMu.Unlock()
	if f, ok := s.contents[key]; ok {
		if fo, ok := f.feed.join(0); ok {
			f.users++
			s.joins(caller, f.ctx)
			return f, fo
		}
	}
	ctx, cancel := context.WithCancel(s.base)
	f := &contentFlight{svc: s, key: key, entry: e, rng: rng, scope: scope, users: 2}
	f.ctx, f.land = s.departs(ctx, caller, "content", key.String)
	f.feed = newLingeringFeed(s.decodeRoom, cancel)
	f.feed.needed = s.decodeRoom.contended // with a decoder of its own, a reader begins anew from the start
	fo, _ := f.feed.join(0)
	s.contents[key] = f
	lands := s.flies("content", key.String, f.feed.followers) // from now on, and not only once its goroutine runs
	s.goes(func() {
		defer lands()
		defer cancel()
		f.run()
	})
	return f, fo
}

func (f *contentFlight) run() {
	s := f.svc
	_, err := guard(func() (struct{}, error) { return struct{}{}, f.transfer(f.ctx) })
	err = s.outcome(f.ctx, err)
	f.land(err)
	s.contentMu.Lock()
	if s.contents[f.key] == f {
		delete(s.contents, f.key)
	}
	s.contentMu.Unlock()
	f.feed.end(err)
	f.release()
}

// release gives back one use; the last closes the file and gives back the window's room.
func (f *contentFlight) release() {
	f.svc.contentMu.Lock()
	f.users--
	last := f.users == 0
	f.svc.contentMu.Unlock()
	if !last {
		return
	}
	f.feed.room.release()
	if f.file != nil {
		f.file.Close()
	}
}

// transfer decodes into a file, or, where none can be had, into the feed's window. The last chunk is published only
// after the check.
func (f *contentFlight) transfer(ctx context.Context) error {
	s := f.svc
	d, err := s.decode(ctx, f.scope, f.entry, f.rng, f.key.fresh)
	if err != nil {
		return err
	}
	defer d.close(s)
	if !f.key.unkept {
		if file, err := s.create(ctx, f.entry); err == nil {
			f.file = file
		}
	}
	buf := make([]byte, blockSize)
	for left := f.entry.Size; left > 0; {
		chunk := buf[:min(blockSize, left)]
		if _, err := io.ReadFull(d, chunk); err != nil {
			return err
		}
		if left -= int64(len(chunk)); left == 0 {
			if err := d.finish(); err != nil {
				return err
			}
			f.from = origin(d.blocks.fetched)
		}
		if err := f.deliver(ctx, chunk); err != nil {
			return err
		}
	}
	if f.file != nil {
		s.kept(f.file.Commit(), f.scope, f.entry, d.blocks.blob)
	}
	return nil
}

func (f *contentFlight) deliver(ctx context.Context, chunk []byte) error {
	if f.file == nil {
		return f.feed.publishUnkept(ctx, chunk)
	}
	if _, err := f.file.Write(chunk); err != nil {
		return errLagged // the disk gave up midway: the followers go on in a flight that doesn't need it
	}
	f.feed.publish()
	return nil
}
