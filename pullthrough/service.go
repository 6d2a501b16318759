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
}

// TTL is how long a tag's last check stands.
type TTL struct {
	For   time.Duration // ignored when Never or Always is set
	Never bool          // never expires
	Asks  bool          // every pull asks the registry
}

// Policy is what the operator decided; it may change while the service runs.
type Policy struct {
	TTL              func(oci.Reference) TTL
	RequireVerified  func(oci.Reference) bool
	MaxStale         time.Duration // how old a stale tag may be; 0 serves none
	Grant            time.Duration // how long one successful answer lets a scope read by digest without asking
	NegativeTTL      time.Duration // how long a 404 is remembered
	MaxIndex         int64         // bytes
	MaxPinned        int64         // bytes that pins may take together
	DecodersAtOnce   int           // decoders that may run at once, each up to ~16 MiB of memory
	TrustPerScope    bool          // a cached file counts only for scopes that fetched or proved it
	IndexEntriesMost int
}

// Options say how fresh and how sure one answer must be.
type Options struct {
	NoCache         bool           // fetch anew, and store what comes
	MaxAge          *time.Duration // the oldest a tag's check may be; nil: the policy's TTL
	RequireFresh    bool           // no stale tag
	RequireVerified bool           // a file's digest is checked before its first byte is handed out
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
	scope      oci.Scope
}

// Progress is how far a Prefetch has come.
type Progress struct {
	FilesDone, FilesTotal int64
	BytesDone, BytesTotal int64
	FilesUnkept           int64 // read, but the cache could not keep them
}

// ArtifactInfo is one artifact of the catalogue and what of it is on disk.
type ArtifactInfo struct {
	cache.Artifact
	Cached int64
}
