package server

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/pullthrough"
)

// Reader is what BlobdService asks of the domain. principal is access.Principal.Key of who asks; ref is as the caller
// wrote it. Errors carry a fault.Reason. All methods are called concurrently.
type Reader interface {
	Pull(ctx context.Context, principal, ref string, o pullthrough.Options) (*pullthrough.Archive, error)
	Manifest(ctx context.Context, principal, ref string, o pullthrough.Options) (pullthrough.Resolution, []byte, error)
	// Open begins to read length bytes (-1: to the end) of a file from offset. An offset past the end is
	// fault.OutOfRange; a length past it is cut.
	Open(ctx context.Context, a *pullthrough.Archive, path string, offset, length int64, o pullthrough.Options) (File, error)
	// Prefetch may call progress from several goroutines; it returns after the last call.
	Prefetch(ctx context.Context, a *pullthrough.Archive, patterns []string, o pullthrough.Options,
		progress func(pullthrough.Progress)) error
}

// File is the part of a file that Open was asked for. It is used by one goroutine and closed once.
type File interface {
	Entry() *archive.Entry
	Length() int64 // how many bytes will come
	// Read fills p as far as bytes are there, without waiting for all of it. io.EOF is the verified end.
	io.ReadCloser
	// Verified and Steps tell, after io.EOF, whether the file's digest was checked and where the bytes came from.
	Verified() bool
	Steps() []pullthrough.Step
}

// Admin is what AdminService asks of the domain. All methods are called concurrently.
type Admin interface {
	Status() pullthrough.Status
	Artifacts(ctx context.Context) []pullthrough.ArtifactInfo
	Prune(ctx context.Context, o pullthrough.PruneOptions) (pullthrough.Report, error)
	Remove(ctx context.Context, ref string) (digest.Digest, pullthrough.Report, error)
	Clear(ctx context.Context, caches []string) (pullthrough.Report, error)
	// Verify may call progress and found from several goroutines; it returns after the last call.
	Verify(ctx context.Context, progress func(done, total, bytes int64), found func(cache, key, why string)) error
	// Pin returns what the artifact takes when it is cached whole, and what of it is on disk now.
	Pin(ctx context.Context, principal, ref string, o pullthrough.Options) (r pullthrough.Resolution, size, cached int64, err error)
	Unpin(ctx context.Context, ref string) (digest.Digest, error)
}

// ReaderOf makes s a Reader.
func ReaderOf(s *pullthrough.Service) Reader { return service{s} }

// service narrows what Open returns to the interface File; all else is the service's own.
type service struct{ *pullthrough.Service }

func (s service) Open(
	ctx context.Context, a *pullthrough.Archive, path string, offset, length int64, o pullthrough.Options,
) (File, error) {
	st, err := s.Service.Open(ctx, a, path, offset, length, o)
	if err != nil {
		return nil, err
	}
	return st, nil
}
