package pullthrough

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// URLStream is a file by address on its way to one caller. It is for one goroutine.
type URLStream struct {
	svc  *Service
	src  urlSource
	size int64
	read int64
}

// urlSource is where a URLStream's bytes come from.
type urlSource interface {
	io.Reader
	from() string
	close()
}

// Size is how many bytes the file has; -1 where that is not known before its end.
func (st *URLStream) Size() int64 { return st.size }

// Steps tells where the bytes came from. It stands after io.EOF.
func (st *URLStream) Steps() []Step {
	from := st.src.from()
	if from == "content" {
		from = "cache"
	}
	return []Step{{"content", from}}
}

// Read fills p as far as bytes are at hand and waits only when there are none. It ends in io.EOF only when all bytes were
// right; after any other error what was read must not be used.
func (st *URLStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := st.src.Read(p)
	st.read += int64(n)
	if n > 0 {
		st.svc.obs.Served(st.src.from(), int64(n))
	}
	if err == io.EOF && st.size >= 0 && st.read != st.size {
		err = fault.New(fault.Truncated, "%d of %d bytes came", st.read, st.size)
	}
	return n, err
}

// Close gives back what the stream holds; it never fails. A fetch that nobody else follows ends.
func (st *URLStream) Close() error {
	st.src.close()
	return nil
}

// OpenURL reads the file at an address, which has this sha256, from the content cache, else from the site; then it returns
// when the site has begun to answer. ctx bounds the whole stream. It fails with fault.InvalidArgument for what is no
// address, and with fault.InvalidDigest. Of o NoCache and RequireVerified count.
func (s *Service) OpenURL(ctx context.Context, principal, address string, d digest.Digest, o Options) (*URLStream, error) {
	u, err := oci.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	sum, ok := archive.SHA256(d)
	if !ok {
		return nil, fault.New(fault.InvalidDigest, "%.256q is no sha256", d).Try("write it as sha256:, and 64 digits from 0 to f")
	}
	file := &urlFile{
		svc: s, ctx: ctx, principal: s.urlScope(principal), key: urlKey{address: u.String(), digest: d, fresh: o.NoCache},
		entry: archive.Entry{Path: oci.AddressName(u), Sum: sum, HasSum: true},
	}
	if d == emptyFile { // it is known without asking
		return &URLStream{svc: s, src: newBytesSource(nil, "memory")}, nil
	}
	if st, ok := file.cached(o.NoCache); ok {
		return st, nil
	}
	if err := file.begin(o.RequireVerified); err != nil {
		file.close()
		return nil, err
	}
	return &URLStream{svc: s, src: file, size: file.flight.size}, nil
}

// emptyFile is what no cache keeps.
const emptyFile digest.Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// urlScope is whose the bytes of addresses are: no login opens any of them, so all addresses are one repository.
func (s *Service) urlScope(principal string) oci.Scope {
	if !s.policy.Load().TrustPerScope {
		principal = ""
	}
	return oci.Scope{Principal: principal, Registry: "url"}
}

// cached answers from memory or the content cache.
func (f *urlFile) cached(bypass bool) (*URLStream, bool) {
	s := f.svc
	switch {
	case bypass:
		s.obs.CacheRequest("content", "bypass")
		return nil, false
	case s.policy.Load().TrustPerScope && !s.caches.Catalogue.Proved(f.principal, f.key.digest):
		s.obs.CacheRequest("content", "miss")
		return nil, false
	}
	if v, ok := s.caches.Memory.Get(memoryContent(&f.entry)); ok {
		s.obs.CacheRequest("memory", "hit")
		s.obs.CacheRequest("content", "hit")
		data := v.([]byte)
		return &URLStream{svc: s, src: newBytesSource(data, "memory"), size: int64(len(data))}, true
	}
	s.obs.CacheRequest("memory", "miss")
	obj, err := s.caches.Content.Open(f.key.digest)
	if err != nil {
		s.obs.CacheRequest("content", "miss")
		return nil, false
	}
	s.obs.CacheRequest("content", "hit")
	f.obj, f.where, f.entry.Size = obj, "content", obj.Size()
	if f.entry.Size > smallFile {
		return &URLStream{svc: s, src: f, size: f.entry.Size}, true
	}
	defer f.close()
	data := make([]byte, f.entry.Size)
	if n, _ := obj.ReadAt(data, 0); n < len(data) {
		return nil, false
	}
	s.remember(&f.entry, data)
	return &URLStream{svc: s, src: newBytesSource(data, "content"), size: f.entry.Size}, true
}

// urlKey names a fetch that callers share: the same bytes from the same place.
type urlKey struct {
	address string
	digest  digest.Digest
	fresh   bool // past the cache
	again   bool // after wrong bytes
	unkept  bool // past the disk, which failed midway
}

// urlFlight is one fetch that several readers follow while it grows.
type urlFlight struct {
	svc   *Service
	key   urlKey
	ctx   context.Context // of its work
	land  func(error)     // ends what the tracer knows of it
	feed  *feed
	begun chan struct{} // closed when what follows stands, up to have

	file *store.Writer // nil where the content can't be kept
	size int64         // -1: not known
	err  error         // why the site has no answer

	have  atomic.Int64 // bytes in file that are published
	users int          // the flight itself and its followers; guarded by svc.contentMu
}

// joinURL follows the flight of key from its start, beginning one where there is none that can still be followed.
func (s *Service) joinURL(caller context.Context, key urlKey, scope oci.Scope, entry *archive.Entry) (*urlFlight, *follower) {
	s.contentMu.Lock()
	defer s.contentMu.Unlock()
	if f, ok := s.urls[key]; ok {
		if fo, ok := f.feed.join(0); ok {
			f.users++
			s.joins(caller, f.ctx)
			return f, fo
		}
	}
	ctx, cancel := context.WithCancel(s.base)
	f := &urlFlight{svc: s, key: key, begun: make(chan struct{}), size: -1, users: 2}
	f.ctx, f.land = s.departs(ctx, caller, "content", func() string { return entry.Path })
	f.feed = newLingeringFeed(s.decodeRoom, cancel)
	fo, _ := f.feed.join(0)
	s.urls[key] = f
	s.goes(func() {
		defer cancel()
		f.run(scope, entry)
	})
	return f, fo
}

func (f *urlFlight) run(scope oci.Scope, entry *archive.Entry) {
	s := f.svc
	defer s.flies("content", func() string { return entry.Path }, f.feed.followers)()
	_, err := guard(func() (struct{}, error) { return struct{}{}, f.transfer(f.ctx, scope, entry) })
	err = s.outcome(f.ctx, err)
	f.land(err)
	s.contentMu.Lock()
	if s.urls[f.key] == f {
		delete(s.urls, f.key)
	}
	s.contentMu.Unlock()
	f.feed.end(err)
	select {
	case <-f.begun:
	default:
		f.err = err
		close(f.begun)
	}
	f.release()
}

// release gives back one use; the last closes the file and gives back the window's room.
func (f *urlFlight) release() {
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

// transfer moves the file from the site into the cache, or, where it can't be kept, into the feed's window. What fills no
// whole chunk is published only after the check.
func (f *urlFlight) transfer(ctx context.Context, scope oci.Scope, entry *archive.Entry) error {
	s := f.svc
	body, err := s.up.URL(ctx, f.key.address, f.key.digest)
	if err != nil {
		return err
	}
	defer body.Close()
	if !f.key.unkept {
		if file, err := s.caches.Content.Create(ctx, f.key.digest, body.Length); err == nil {
			f.file = file
		}
	}
	f.size = body.Length
	close(f.begun)
	buf := make([]byte, blockSize)
	for end := false; !end; {
		n, err := io.ReadFull(body, buf)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			end = true
		case err != nil:
			return err
		}
		if n == 0 {
			break
		}
		if err := f.deliver(ctx, buf[:n]); err != nil {
			return err
		}
	}
	if f.file != nil {
		s.kept(f.file.Commit(), scope, entry, nil)
	}
	return nil
}

func (f *urlFlight) deliver(ctx context.Context, chunk []byte) error {
	if f.file == nil {
		return f.feed.publishUnkept(ctx, chunk)
	}
	if _, err := f.file.Write(chunk); err != nil {
		return errLagged // the disk gave up midway: the followers go on in a flight that doesn't need it
	}
	f.have.Add(int64(len(chunk)))
	f.feed.publish()
	return nil
}

// urlFile is one caller's way through the file: the cached object, or a flight. When the object fails midway, or the flight
// leaves it behind or turns out wrong, it begins anew, and goes on only when the bytes that it handed out stand there too.
type urlFile struct {
	svc       *Service
	ctx       context.Context
	principal oci.Scope
	key       urlKey
	entry     archive.Entry

	where    string        // the bytes come from
	obj      *store.Object // while the cache has it
	flight   *urlFlight
	follower *follower
	restarts int
	chunk    []byte

	sent   int64 // bytes handed out
	seen   maphash.Hash
	passed int64 // of them, those that were found in the flight that is followed now
	again  maphash.Hash
}

// begin follows a flight until its size is known, or with verified until its end.
func (f *urlFile) begin(verified bool) error {
	f.join()
	for {
		err := f.await(verified)
		if err == nil {
			return nil
		}
		if err := f.restart(err); err != nil {
			return err
		}
	}
}

func (f *urlFile) await(verified bool) error {
	select {
	case <-f.flight.begun:
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	switch {
	case f.flight.err != nil:
		return f.flight.err
	case !verified:
		return nil
	case f.flight.file == nil:
		return fault.New(fault.LocalOverload, "%s can't be verified before it is read: the cache has no room for it", f.entry.Path).
			Try("raise max_size, or read it without requiring that")
	}
	_, err := f.flight.feed.await(f.ctx, f.follower, never)
	return err
}

// never is a chunk that no file has: who awaits it awaits the end.
const never = int(^uint(0) >> 1)

func (f *urlFile) Read(p []byte) (int, error) {
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

// advance hands out what has come since.
func (f *urlFile) advance(p []byte) (int, error) {
	if f.obj != nil {
		return f.fromObject(p)
	}
	if err := f.catchUp(); err != nil {
		return 0, err
	}
	n, err := f.copy(p, f.sent)
	f.handed(p[:n])
	return n, err
}

// catchUp passes over the bytes that were handed out before a restart, and compares them.
func (f *urlFile) catchUp() error {
	if f.passed == f.sent {
		return nil
	}
	buf := make([]byte, blockSize)
	for f.passed < f.sent {
		n, err := f.copy(buf[:min(blockSize, f.sent-f.passed)], f.passed)
		if err == io.EOF {
			return f.differs()
		}
		if err != nil {
			return err
		}
		f.again.Write(buf[:n])
		f.passed += int64(n)
	}
	if f.again.Sum64() != f.seen.Sum64() {
		return f.differs()
	}
	return nil
}

func (f *urlFile) handed(p []byte) {
	f.seen.Write(p)
	f.sent += int64(len(p))
	f.passed = f.sent
}

// differs is the end: another try can't call back what was handed out.
func (f *urlFile) differs() error {
	f.key.again = true
	return fault.New(fault.DigestMismatch, "%s: bytes that were handed out turned out wrong", f.entry.Path).Try("read it again")
}

func (f *urlFile) fromObject(p []byte) (int, error) {
	if f.sent == f.obj.Size() {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.obj.Size()-f.sent)]
	n, _ := f.obj.ReadAt(p, f.sent)
	if n < len(p) {
		return 0, errLagged // the disk failed
	}
	f.handed(p)
	return n, nil
}

// copy copies bytes from pos, as many as have come.
func (f *urlFile) copy(p []byte, pos int64) (int, error) {
	chunk := int(pos / blockSize)
	next, err := f.flight.feed.await(f.ctx, f.follower, chunk)
	if err != nil {
		return 0, err
	}
	if chunk >= next {
		return 0, io.EOF
	}
	at, have := pos-int64(chunk)*blockSize, 0
	if file := f.flight.file; file != nil {
		if have = int(min(f.flight.have.Load()-pos, int64(len(p)))); have > 0 {
			if have, err = file.ReadAt(p[:have], pos); have == 0 {
				return 0, errors.Join(errLagged, err)
			}
			return have, nil
		}
	} else {
		if f.chunk == nil {
			f.chunk = make([]byte, blockSize)
		}
		n, ok := f.flight.feed.copyWindow(chunk, f.chunk)
		if !ok {
			return 0, errLagged
		}
		if at < int64(n) {
			return copy(p, f.chunk[at:n]), nil
		}
	}
	// This chunk is short, and so the last: only the verdict is to come.
	if _, err := f.flight.feed.await(f.ctx, f.follower, chunk+1); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// restart follows another flight, or returns the error to hand out.
func (f *urlFile) restart(cause error) error {
	switch {
	case f.ctx.Err() != nil:
		return f.ctx.Err()
	case errors.Is(cause, errDeserted): // it was given up just as this one joined
	case errors.Is(cause, errLagged):
		if f.restarts++; f.restarts > restartsMost {
			return fault.Wrap(fault.LocalOverload, cause, "%s: its reader is too slow for a file that the cache has no room for", f.entry.Path)
		}
		f.key.unkept = f.obj == nil
	case errors.Is(cause, fault.DigestMismatch) && !f.key.again:
		f.key.again = true
	default:
		return cause
	}
	f.close()
	f.join()
	f.passed = 0
	f.again.SetSeed(f.seen.Seed())
	return nil
}

func (f *urlFile) join() {
	f.where = "upstream"
	f.flight, f.follower = f.svc.joinURL(f.ctx, f.key, f.principal, &f.entry)
}

func (f *urlFile) from() string { return f.where }

func (f *urlFile) close() {
	if f.obj != nil {
		f.obj.Close()
		f.obj = nil
	}
	if f.flight != nil {
		f.flight.feed.leave(f.follower)
		f.flight.release()
		f.flight = nil
	}
}
