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
	// OpenBlob is Open for one of the artifact's blobs, as the registry holds it.
	OpenBlob(ctx context.Context, a *pullthrough.Archive, d digest.Digest, offset, length int64, o pullthrough.Options) (File, error)
	// Prefetch may call progress from several goroutines; it returns after the last call.
	Prefetch(ctx context.Context, a *pullthrough.Archive, patterns []string, o pullthrough.Options,
		progress func(pullthrough.Progress)) error
	// FetchURL begins to read the file at an address, which has this digest.
	FetchURL(ctx context.Context, principal, address string, d digest.Digest, o pullthrough.Options) (Download, error)
}

// Download is a file by address. It is used by one goroutine and closed once.
type Download interface {
	Size() int64 // -1: not known before its end
	// Read is as a File's.
	io.ReadCloser
	// Steps tells, after io.EOF, where the bytes came from.
	Steps() []pullthrough.Step
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

// Logins is what AdminService asks of the daemon about the logins that are its own. Secrets go in and never come out, in
// errors neither. All methods are called concurrently.
type Logins interface {
	// Login tries a login, and keeps it where the registry does not refuse it. checked is false where the registry asks
	// nobody to log in.
	Login(ctx context.Context, registry, username, password string) (l Login, checked bool, err error)
	Logout(ctx context.Context, registry string) (found bool, err error)
	Logins(ctx context.Context) ([]Login, error)
}

// Login is who is logged in where, and in which file or helper that is kept.
type Login struct{ Registry, Username, Where string }

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

func (s service) OpenBlob(
	ctx context.Context, a *pullthrough.Archive, d digest.Digest, offset, length int64, o pullthrough.Options,
) (File, error) {
	st, err := s.Service.OpenBlob(ctx, a, d, offset, length, o)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (s service) FetchURL(
	ctx context.Context, principal, address string, d digest.Digest, o pullthrough.Options,
) (Download, error) {
	st, err := s.OpenURL(ctx, principal, address, d, o)
	if err != nil {
		return nil, err
	}
	return st, nil
}
