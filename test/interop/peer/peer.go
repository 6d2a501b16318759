// Package peer makes archives with the published library, github.com/meigma/blob, whose format blobd reads. It pushes
// over plain HTTP without a login.
package peer

import (
	"context"
	"fmt"

	"github.com/meigma/blob"
	"github.com/opencontainers/go-digest"
)

// Compression is how an archive's files are stored.
type Compression = blob.Compression

// The compressions that the library knows.
const (
	Stored = blob.CompressionNone
	Zstd   = blob.CompressionZstd
)

// Client returns the library's client for registries on loopback, with no cache but what opts say.
func Client(opts ...blob.Option) (*blob.Client, error) {
	return blob.NewClient(append([]blob.Option{blob.WithPlainHTTP(true), blob.WithAnonymous()}, opts...)...)
}

// Push puts the files of the folder dir into a registry as ref, host:port/repository:tag, and returns the digest of the
// archive's manifest. The library holds the whole archive in memory meanwhile.
func Push(ctx context.Context, ref, dir string, c Compression) (digest.Digest, error) {
	client, err := Client()
	if err != nil {
		return "", err
	}
	if err := client.Push(ctx, ref, dir, blob.PushWithCompression(c)); err != nil {
		return "", fmt.Errorf("peer: push %s: %w", ref, err)
	}
	manifest, err := client.Fetch(ctx, ref, blob.FetchWithSkipCache())
	if err != nil {
		return "", fmt.Errorf("peer: fetch %s: %w", ref, err)
	}
	return digest.Parse(manifest.Digest())
}
