package client

import (
	"context"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// Pull makes the artifact of a reference ready: its tag resolved, its manifest and index at hand. Files are fetched when
// they are read. The options hold for the archive's reads too, as far as they are about bytes.
func (c *Client) Pull(ctx context.Context, ref string, opts ...ReadOption) (*Archive, error) {
	options := readOptions(opts)
	r, err := c.api.Pull(ctx, &blobdv1.PullRequest{Reference: ref, Options: options})
	if err != nil {
		return nil, err
	}
	return &Archive{
		Resolution: resolution(r.GetResolution()),
		Files:      r.GetFiles(), Size: r.GetSize(), StoredSize: r.GetStoredSize(),
		api: c.api, ctx: context.Background(),
		options: &blobdv1.ReadOptions{NoCache: options.NoCache, RequireVerified: options.RequireVerified},
	}, nil
}

// Manifest returns the manifest of a reference, byte for byte as the registry has it. It may be of any artifact.
func (c *Client) Manifest(ctx context.Context, ref string, opts ...ReadOption) (Resolution, []byte, error) {
	r, err := c.api.FetchManifest(ctx, &blobdv1.FetchManifestRequest{Reference: ref, Options: readOptions(opts)})
	if err != nil {
		return Resolution{}, nil, err
	}
	return resolution(r.GetResolution()), r.GetManifest(), nil
}
