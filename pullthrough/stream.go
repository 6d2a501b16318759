package pullthrough

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Stream is a file's bytes, or a part of them, on their way to one caller. It is for one goroutine.
type Stream struct {
	svc    *Service
	entry  *archive.Entry
	length int64
	read   int64
	src    source
	step   string
}

// source is where a stream's bytes come from.
type source interface {
	io.Reader
	// from names it as in Observer.Served; of a flight it stands only at the end.
	from() string
	// verified reports whether the digest of the file that the bytes are from was checked.
	verified() bool
	close()
}

// Entry is the file that is read.
func (st *Stream) Entry() *archive.Entry { return st.entry }

// Length is how many bytes the stream holds when it ends in io.EOF.
func (st *Stream) Length() int64 { return st.length }

// Verified reports whether the file's digest was checked, now or when it was cached. It stands after io.EOF.
func (st *Stream) Verified() bool { return st.src.verified() }

// Steps tells where the bytes came from. It stands after io.EOF.
func (st *Stream) Steps() []Step {
	from := st.src.from()
	if from == "content" || from == "block" {
		from = "cache"
	}
	return []Step{{st.step, from}}
}

// Read fills p as far as bytes are at hand and waits only when there are none. It ends in io.EOF only when all bytes
// were there, and, for a whole file, right; after any other error what was read must not be used.
func (st *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := st.src.Read(p)
	st.read += int64(n)
	if n > 0 {
		st.svc.obs.Served(st.src.from(), int64(n))
	}
	if err == io.EOF && st.read != st.length {
		err = fault.New(fault.Truncated, "file %q: %d of %d bytes", st.entry.Path, st.read, st.length)
	}
	return n, err
}

// Close gives back what the stream holds; it never fails. A fetch that nobody else follows ends.
func (st *Stream) Close() error {
	st.src.close()
	return nil
}

// Open reads length bytes of the file at path from offset; a negative length, or one that passes the end, reads to the
// end. ctx bounds the whole stream. It fails with fault.InvalidPath, fault.FileUnknown, fault.IsDirectory,
// fault.InvalidArgument (negative offset) and fault.OutOfRange (offset past the end); other failures come from Read.
func (s *Service) Open(ctx context.Context, a *Archive, path string, offset, length int64, o Options) (*Stream, error) {
	e, err := a.Tree.Lookup(path)
	if err != nil {
		return nil, err
	}
	return s.openEntry(ctx, a, e, offset, length, o)
}

// OpenBlob is Open for one of the artifact's blobs, config or layer, as the registry holds it. It fails with
// fault.BlobUnknown for one that the manifest does not name.
func (s *Service) OpenBlob(ctx context.Context, a *Archive, d digest.Digest, offset, length int64, o Options) (*Stream, error) {
	blobs := append([]oci.Descriptor{a.manifest.Config}, a.manifest.Layers...)
	at := slices.IndexFunc(blobs, func(b oci.Descriptor) bool { return b.Digest == d })
	if at < 0 {
		return nil, fault.New(fault.BlobUnknown, "%s has no blob %.256q", a.Reference, d).Try("blobd manifest lists them")
	}
	sum, known := archive.SHA256(d)
	e := &archive.Entry{
		Path: string(d), Size: blobs[at].Size, Mode: archive.PlainMode, Sum: sum, HasSum: known,
		// It is read through its blocks, which others may have brought.
		Locator: archive.Range{Blob: &blobs[at], Length: blobs[at].Size, Codec: archive.Stored},
	}
	return s.openEntry(ctx, a, e, offset, length, o)
}

func (s *Service) openEntry(ctx context.Context, a *Archive, e *archive.Entry, offset, length int64, o Options) (*Stream, error) {
	if offset < 0 {
		return nil, fault.New(fault.InvalidArgument, "file %q: offset %d is negative", e.Path, offset)
	}
	if offset > e.Size {
		return nil, fault.New(fault.OutOfRange, "file %q: offset %d is past its end at %d", e.Path, offset, e.Size).
			Try("blobd stat tells its size")
	}
	if length < 0 || length > e.Size-offset {
		length = e.Size - offset
	}
	st := &Stream{svc: s, entry: e, length: length, step: "content"}
	if inline, ok := e.Locator.(archive.Inline); ok {
		st.src = newBytesSource(inline.Data[offset:offset+length], "content")
		return st, nil
	}
	rng := rangeOf(e)
	if rng.Codec == archive.TarGzip && e.Size == 0 { // nothing stands for it in any cache
		st.src = newBytesSource(nil, "content")
		return st, nil
	}
	mustVerify := o.RequireVerified || s.policy.Load().RequireVerified(a.Reference)
	flight := &flightSource{
		ctx: ctx, svc: s, scope: a.scope, entry: e, rng: rng, pos: offset, limit: offset + length,
		whole: length == e.Size, mustVerify: mustVerify,
	}
	if src, ok := s.cachedContent(a, flight, o); ok {
		st.src = src
		return st, nil
	}
	if length == 0 && e.Size > 0 && !mustVerify { // nothing need come for no bytes
		st.src, st.step = nothing{}, "blocks"
		return st, nil
	}
	fresh := o.NoCache && !o.renewed
	if rng.Codec == archive.TarGzip {
		err := s.unpack(ctx, a, e, fresh)
		if errors.Is(err, fault.DigestMismatch) && !fresh {
			err = s.unpack(ctx, a, e, true)
		}
		if err != nil {
			return nil, err
		}
		if src, ok := s.cachedContent(a, flight, Options{}); ok {
			st.src = src
			return st, nil
		}
		fresh = false // the cache had no room for it: it is decoded by itself, from what is cached of the bundle
	}
	switch part := length < e.Size; {
	case part && rng.Codec == archive.Stored && !mustVerify && !atOnce(e, rng):
		b := s.blobs.acquire(*rng.Blob)
		if fresh {
			b.forget(rng.Offset+offset, length)
		}
		st.src, st.step = &blockSource{s.newBlockReader(ctx, b, a.scope, rng.Offset+offset, length)}, "blocks"
	case e.Size <= smallFile:
		c, err := s.small(ctx, a.scope, e, rng, fresh)
		if err != nil {
			return nil, err
		}
		st.src = newBytesSource(c.data[offset:offset+length], c.from)
	default:
		flight.start(keyOf(e, rng, fresh))
		if err := flight.awaitVerified(); err != nil {
			flight.close()
			return nil, err
		}
		st.src = flight
	}
	return st, nil
}

// rangeOf is the part of a blob that an entry is decoded from; of a member, all of its bundle.
func rangeOf(e *archive.Entry) archive.Range {
	if m, ok := e.Locator.(archive.Member); ok {
		return archive.Range{Blob: m.Blob, Length: m.Blob.Size, Codec: archive.TarGzip}
	}
	return e.Locator.(archive.Range)
}

// atOnce reports whether a file is a blob that comes in one piece: it is small, and kept as content. One that has no
// digest of the kind that content has is kept as blocks.
func atOnce(e *archive.Entry, rng archive.Range) bool {
	return rng.Whole && e.HasSum && e.Size <= smallFile
}

// cachedContent answers from memory or the content cache; flight is what goes on where the disk fails midway.
func (s *Service) cachedContent(a *Archive, flight *flightSource, o Options) (source, bool) {
	e, from, to := flight.entry, flight.pos, flight.limit
	if o.NoCache {
		s.obs.CacheRequest("content", "bypass")
		return nil, false
	}
	if !e.HasSum || s.policy.Load().TrustPerScope && !s.caches.Catalogue.Proved(a.scope, sumDigest(e)) {
		s.obs.CacheRequest("content", "miss")
		return nil, false
	}
	small := e.Size <= smallFile
	if small {
		if v, ok := s.caches.Memory.Get(memoryContent(e)); ok {
			if data := v.([]byte); int64(len(data)) == e.Size { // else this index lies about the size
				s.obs.CacheRequest("memory", "hit")
				s.obs.CacheRequest("content", "hit")
				return newBytesSource(data[from:to], "memory"), true
			}
		}
		s.obs.CacheRequest("memory", "miss")
	}
	obj, err := s.caches.Content.Open(sumDigest(e))
	if err == nil && obj.Size() != e.Size {
		obj.Close()
		err = store.ErrNotFound
	}
	if err != nil {
		s.obs.CacheRequest("content", "miss")
		return nil, false
	}
	s.obs.CacheRequest("content", "hit")
	if !small {
		return &objectSource{obj: obj, flight: flight}, true
	}
	defer obj.Close()
	data := make([]byte, e.Size)
	if n, _ := obj.ReadAt(data, 0); int64(n) < e.Size {
		return nil, false
	}
	s.remember(e, data)
	return newBytesSource(data[from:to], "content"), true
}
