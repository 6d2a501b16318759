package pullthrough

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"io"

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
	if offset < 0 {
		return nil, fault.New(fault.InvalidArgument, "file %q: offset %d is negative", path, offset)
	}
	if offset > e.Size {
		return nil, fault.New(fault.OutOfRange, "file %q: offset %d is past its end at %d", path, offset, e.Size).
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
	rng, ok := e.Locator.(archive.Range)
	if !ok {
		return nil, fault.New(fault.ArtifactUnsupported, "file %q: its bytes are in a place that this blobd can't read", path)
	}
	flight := &flightSource{ctx: ctx, svc: s, scope: a.scope, entry: e, rng: rng, pos: offset, limit: offset + length}
	if src, ok := s.cachedContent(a, flight, o); ok {
		st.src = src
		return st, nil
	}
	fresh := o.NoCache && !o.renewed
	mustVerify := o.RequireVerified || s.policy.Load().RequireVerified(a.Reference)
	switch part := length < e.Size; {
	case part && rng.Codec == archive.Stored && !mustVerify:
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
		flight.start(fresh, false)
		if mustVerify {
			if err := flight.awaitVerified(); err != nil {
				flight.close()
				return nil, err
			}
		}
		st.src = flight
	}
	return st, nil
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
			s.obs.CacheRequest("memory", "hit")
			s.obs.CacheRequest("content", "hit")
			return newBytesSource(v.([]byte)[from:to], "memory"), true
		}
		s.obs.CacheRequest("memory", "miss")
	}
	obj, err := s.caches.Content.Open(sumDigest(e))
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

// bytesSource is a small file in memory.
type bytesSource struct {
	bytes.Reader
	where string
}

func newBytesSource(data []byte, where string) *bytesSource {
	b := &bytesSource{where: where}
	b.Reset(data)
	return b
}

func (b *bytesSource) from() string   { return b.where }
func (b *bytesSource) verified() bool { return true }
func (b *bytesSource) close()         {}

// objectSource is a file of the content cache. Where the disk fails it midway, the flight goes on from there.
type objectSource struct {
	obj    *store.Object
	flight *flightSource // holds the position
	failed bool          // the flight has taken over
}

func (o *objectSource) Read(p []byte) (int, error) {
	if o.failed {
		return o.flight.Read(p)
	}
	f := o.flight
	if f.pos >= f.limit {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.limit-f.pos)]
	n, _ := o.obj.ReadAt(p, f.pos)
	if n < len(p) {
		o.failed = true
		f.start(false, false)
		return f.Read(p)
	}
	f.pos += int64(n)
	return n, nil
}

func (o *objectSource) from() string {
	if o.failed {
		return o.flight.from()
	}
	return "content"
}

func (o *objectSource) verified() bool { return !o.failed || o.flight.verified() }

func (o *objectSource) close() {
	o.obj.Close()
	if o.failed {
		o.flight.close()
	}
}

// blockSource is a part of a stored file, straight from its blob's blocks.
type blockSource struct{ r *blockReader }

func (b *blockSource) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	for n < len(p) && err == nil && b.r.atHand() {
		var m int
		m, err = b.r.Read(p[n:])
		n += m
	}
	return n, err
}

func (b *blockSource) from() string   { return origin(b.r.fetched) }
func (b *blockSource) verified() bool { return false }
func (b *blockSource) close()         { b.r.close() }

// restartsMost bounds how often one stream begins anew because it was too slow for a file that can't be kept.
const restartsMost = 8

// flightSource follows a content flight. When the flight leaves it behind, or turns out wrong, it begins anew, and goes
// on only when the bytes that it handed out stand there too.
type flightSource struct {
	ctx        context.Context
	svc        *Service
	scope      oci.Scope
	entry      *archive.Entry
	rng        archive.Range
	pos, limit int64

	flight   *contentFlight
	follower *follower
	sent     int64 // bytes handed out, which end at pos
	seen     maphash.Hash
	restarts int
	retried  bool // after a failure of the flight itself
	chunk    []byte
}

func (f *flightSource) start(fresh, unkept bool) {
	f.flight, f.follower = f.svc.joinContent(f.scope, f.entry, f.rng, fresh, unkept)
}

func (f *flightSource) Read(p []byte) (int, error) {
	for {
		n, err := f.advance(p)
		if err == nil || err == io.EOF {
			return n, err
		}
		if err := f.restart(err); err != nil {
			return 0, err
		}
	}
}

// advance hands out what has come since; at the end of a whole file it waits for the flight's verdict.
func (f *flightSource) advance(p []byte) (int, error) {
	if f.pos < f.limit {
		n, err := f.copy(p[:min(int64(len(p)), f.limit-f.pos)])
		f.pos += int64(n)
		f.sent += int64(n)
		f.seen.Write(p[:n])
		return n, err
	}
	if f.sent == f.entry.Size {
		if err := f.awaitEnd(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// copy copies bytes from pos, as many as have come.
func (f *flightSource) copy(p []byte) (int, error) {
	chunk := int(f.pos / blockSize)
	next, err := f.flight.feed.await(f.ctx, f.follower, chunk)
	if err != nil {
		return 0, err
	}
	if file := f.flight.file; file != nil {
		have := min(int64(next)*blockSize, f.entry.Size)
		n, err := file.ReadAt(p[:min(int64(len(p)), have-f.pos)], f.pos)
		if n == 0 {
			return 0, errors.Join(errLagged, err)
		}
		return n, nil
	}
	if f.chunk == nil {
		f.chunk = make([]byte, blockSize)
	}
	n, ok := f.flight.feed.copyWindow(chunk, f.chunk)
	if !ok {
		return 0, errLagged
	}
	return copy(p, f.chunk[f.pos-int64(chunk)*blockSize:n]), nil
}

func (f *flightSource) awaitEnd() error {
	_, err := f.flight.feed.await(f.ctx, f.follower, blocksOf(f.entry.Size))
	return err
}

// awaitVerified waits for the end of the flight before the first byte is handed out. It fails for a file that nothing
// can hold until then.
func (f *flightSource) awaitVerified() error {
	for {
		_, err := f.flight.feed.await(f.ctx, f.follower, 0)
		if err == nil && f.flight.file == nil {
			return fault.New(fault.LocalOverload, "file %q can't be verified before it is read: the cache has no room for it",
				f.entry.Path).Try("raise max_size, or read it without requiring that")
		}
		if err == nil {
			err = f.awaitEnd()
		}
		if err == nil {
			return nil
		}
		if err := f.restart(err); err != nil {
			return err
		}
	}
}

// restart follows another flight and passes over what was handed out already; or it returns the error to hand out.
func (f *flightSource) restart(cause error) error {
	fresh, unkept := false, false
	f.restarts++
	switch {
	case f.ctx.Err() != nil:
		return f.ctx.Err()
	case f.restarts > restartsMost:
		return fault.Wrap(fault.LocalOverload, cause, "file %q: its reader is too slow for a file that the cache has no room for", f.entry.Path)
	case errors.Is(cause, errLagged):
		unkept = true
	case gone(cause): // it ended just as this one joined
	case !f.retried && (errors.Is(cause, fault.DigestMismatch) || f.flight.scope != f.scope):
		f.retried = true
		fresh = errors.Is(cause, fault.DigestMismatch)
	default:
		return cause
	}
	sent, seen := f.sent, f.seen.Sum64()
	f.close()
	f.start(fresh, unkept)
	f.pos, f.sent = f.pos-sent, 0
	f.seen.Reset()
	skipped := make([]byte, blockSize)
	for f.sent < sent {
		if _, err := f.advance(skipped[:min(blockSize, sent-f.sent)]); err != nil {
			return err
		}
	}
	if f.seen.Sum64() != seen {
		return fault.New(fault.DigestMismatch, "file %q: bytes that were handed out turned out wrong", f.entry.Path).Try("read it again")
	}
	return nil
}

func (f *flightSource) from() string {
	if f.verified() {
		return f.flight.from
	}
	return "upstream"
}

func (f *flightSource) verified() bool {
	_, ended, err := f.flight.feed.progress()
	return ended && err == nil
}

func (f *flightSource) close() {
	f.flight.feed.leave(f.follower)
	f.flight.release()
}
