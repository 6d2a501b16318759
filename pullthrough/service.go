// Package pullthrough is the way from a reference to bytes: the caches first, upstream when they can't answer, and one
// flight for all who want the same.
//
// It promises:
//   - A fresh tag, and anything by digest that is cached, is answered without an upstream request.
//   - What several callers want at once is fetched once: each object, and each block of a blob.
//   - A flight belongs to nobody: it ends when its work ends or when its last caller has gone, and what it fetched
//     until then is kept.
//   - Bytes are checked before a stream that carried them ends in io.EOF.
//   - A cache that can't store, for whatever reason, never fails a read.
package pullthrough

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/oci"
)

// Upstream is where content comes from when no cache has it: today mirrors and the registry, later peers and object
// storage. Everything but Resolve is by digest. Errors carry a fault.Reason.
type Upstream interface {
	// Credential names what opens a repository; "" is anonymous.
	Credential(registry, repository string) string
	// Resolve asks what a tag points to. Where the registry answered with the manifest itself, raw holds it.
	Resolve(ctx context.Context, scope oci.Scope, tag string) (d oci.Descriptor, raw []byte, err error)
	// Manifest returns a manifest whose digest was checked.
	Manifest(ctx context.Context, scope oci.Scope, d digest.Digest) (mediaType string, raw []byte, err error)
	// Stat asks whether the scope may still read the manifest d.
	Stat(ctx context.Context, scope oci.Scope, d digest.Digest) error
	// Blob streams a whole blob; it ends in an error instead of io.EOF when size or digest don't match.
	Blob(ctx context.Context, scope oci.Scope, d oci.Descriptor) (io.ReadCloser, error)
	// Range streams length bytes from offset, or, from a registry without ranges, the whole blob.
	Range(ctx context.Context, scope oci.Scope, d oci.Descriptor, offset, length int64) (oci.Body, error)
	// URL streams the file at an address; its Length is -1 where that is not known. It ends in an error instead of io.EOF
	// when the digest does not match.
	URL(ctx context.Context, address string, d digest.Digest) (oci.Body, error)
}

// Observer hears what is answered from where. Calls come from many goroutines and must not block.
type Observer interface {
	// CacheRequest counts a look into a cache (ref, manifest, index, content, block, memory) by its result (hit, miss,
	// stale, negative, bypass, error).
	CacheRequest(cache, result string)
	// Served counts bytes handed to callers by their source (memory, content, block, upstream).
	Served(source string, n int64)
	FlightStarted()
	FlightEnded()
	FlightJoined()
	// StaleServed counts a tag that was answered as it was last known, since its registry can't be had.
	StaleServed()
}

// TTL is how long a tag's last check stands.
type TTL struct {
	For   time.Duration // ignored when Never or Asks is set
	Never bool          // never expires
	Asks  bool          // every pull asks the registry
}

// Policy is what the operator decided; it may change while the service runs. Every field must be set.
type Policy struct {
	TTL             func(oci.Reference) TTL
	RequireVerified func(oci.Reference) bool
	MaxStale        time.Duration // how old a stale tag may be; 0 serves none
	Grant           time.Duration // how long one good answer lets a scope read by digest without asking; 0 is for ever
	NegativeTTL     time.Duration // how long a 404 is remembered
	MaxIndex        int64         // bytes
	MaxPinned       int64         // bytes that pins may take together
	TrustPerScope   bool          // a cached file counts only for scopes that fetched or proved it
}

// Options say how fresh and how sure one answer must be.
type Options struct {
	NoCache         bool           // fetch anew, and store what comes
	MaxAge          *time.Duration // the oldest a tag's check may be; nil: the policy's TTL
	RequireFresh    bool           // no stale tag
	RequireVerified bool           // a file's digest is checked before its first byte is handed out
	// Held says that a digest in the reference came from an earlier answer: with NoCache, the manifest and index that it
	// names are not fetched once more.
	Held bool

	renewed bool // with NoCache: the blocks were fetched anew already
}

// Step is one step on the way to an answer and where it was answered from.
type Step struct{ Step, Source string }

// Resolution is what a reference meant.
type Resolution struct {
	Reference    oci.Reference // registry/repository@digest
	Digest       digest.Digest
	MediaType    string
	ArtifactType string
	Stale        bool
	Age          time.Duration // since the registry last confirmed the tag
	Steps        []Step
}

// Archive is an artifact made ready: it stays with the digest that was resolved.
type Archive struct {
	Resolution
	Tree       *archive.Tree
	StoredSize int64 // bytes of the artifact's blobs in the registry
	manifest   oci.Manifest
	scope      oci.Scope
	release    func()
}

// Release ends the use of a: it gives the memory of its index back to others. What was read from it stays.
func (a *Archive) Release() {
	if a.release != nil { // else it was not pulled
		a.release()
	}
}

// Progress is how far a Prefetch has come.
type Progress struct {
	FilesDone, FilesTotal int64
	BytesDone, BytesTotal int64
	FilesUnkept           int64 // at the end: those that the cache does not hold, since it has no room for all
}

// ArtifactInfo is one artifact of the catalogue and what of it is on disk.
type ArtifactInfo struct {
	cache.Artifact
	Cached int64 // bytes, those that other artifacts name too
}

// Service answers for all callers of one daemon. It is safe for concurrent use.
type Service struct {
	caches *cache.Caches
	up     Upstream
	obs    Observer
	now    func() time.Time
	tracer Tracer // nil: nothing is traced
	policy atomic.Pointer[Policy]

	flying flying

	base context.Context // ends when the service closes; every flight's context comes from it
	stop context.CancelFunc

	workMu  sync.Mutex // guards working and rested
	working int        // goroutines under way
	rested  *sync.Cond // working has become 0

	tags      *group[tagKey, cache.Ref]
	manifests *group[objectKey, *manifest]
	trees     *group[objectKey, sourced]
	deriving  *group[objectKey, int64]
	smalls    *group[contentKey, smallContent]
	live      liveTrees
	blobs     *blobs
	decoders  decoders // those for small files
	// What is taken of both rooms is taken of the first first: whoever has room to decode never waits for an index.
	indexRoom  *room         // for decoded indexes
	decodeRoom *room         // for decoders of large files, and what waits in memory for readers
	checking   chan struct{} // holds a token while a whole blob is checked
	blockBufs  sync.Pool     // of *[]byte of blockSize

	pinning sync.Mutex // makes weighing a pin and making it one step

	contentMu sync.Mutex // guards contents, urls and the flights' users
	contents  map[contentKey]*contentFlight
	urls      map[urlKey]*urlFlight

	unpackMu   sync.Mutex // guards unpackings
	unpackings map[objectKey]*unpacking
}

// New returns a service over caches, which stay the caller's to close, after the service.
func New(caches *cache.Caches, up Upstream, policy Policy, obs Observer, now func() time.Time) *Service {
	s := &Service{
		caches: caches, up: up, obs: obs, now: now,
		contents: make(map[contentKey]*contentFlight), urls: make(map[urlKey]*urlFlight), unpackings: make(map[objectKey]*unpacking),
	}
	s.base, s.stop = context.WithCancel(context.Background())
	s.rested = sync.NewCond(&s.workMu)
	s.policy.Store(&policy)
	s.tags = newGroup[tagKey, cache.Ref](s, "tag")
	s.manifests = newGroup[objectKey, *manifest](s, "manifest")
	s.trees = newGroup[objectKey, sourced](s, "index")
	s.deriving = newGroup[objectKey, int64](s, "index")
	s.smalls = newGroup[contentKey, smallContent](s, "content")
	s.blobs = &blobs{svc: s, open: make(map[blobKey]*blob)}
	s.decoders = newDecoders()
	indexes, decoding := roomSizes()
	s.indexRoom, s.decodeRoom = newRoom("indexes", indexes), newRoom("decoding", decoding)
	s.checking = make(chan struct{}, 1)
	s.blockBufs.New = func() any { b := make([]byte, blockSize); return &b }
	return s
}

// SetPolicy changes what the operator decided; reads under way keep what they began with.
func (s *Service) SetPolicy(p Policy) { s.policy.Store(&p) }

// Close ends every flight and waits until none is left, or until ctx ends. Streams still open fail.
func (s *Service) Close(ctx context.Context) error {
	s.stop()
	defer context.AfterFunc(ctx, func() {
		s.workMu.Lock() // not between the look at ctx and the wait
		defer s.workMu.Unlock()
		s.rested.Broadcast()
	})()
	s.workMu.Lock()
	defer s.workMu.Unlock()
	for s.working > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.rested.Wait()
	}
	return nil
}

// goes runs f in a goroutine that Close waits for.
func (s *Service) goes(f func()) {
	s.workMu.Lock()
	s.working++
	s.workMu.Unlock()
	go func() {
		defer func() {
			s.workMu.Lock()
			s.working--
			s.rested.Broadcast()
			s.workMu.Unlock()
		}()
		f()
	}()
}

// flies counts a flight, and has it listed as long as it lasts; the returned func counts its end. what and callers are
// asked when somebody looks.
func (s *Service) flies(kind string, what func() string, callers func() int) (lands func()) {
	s.obs.FlightStarted()
	gone := s.flying.takes(&aloft{kind: kind, what: what, since: s.now(), callers: callers})
	return func() {
		gone()
		s.obs.FlightEnded()
	}
}

// scope says on whose behalf ref is read.
func (s *Service) scope(principal string, ref oci.Reference) oci.Scope {
	if !s.policy.Load().TrustPerScope {
		principal = ""
	}
	return oci.Scope{
		Principal: principal, Registry: ref.Registry, Repository: ref.Repository,
		Credential: s.up.Credential(ref.Registry, ref.Repository),
	}
}
