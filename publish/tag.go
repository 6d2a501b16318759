package publish

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/oci"
)

// Tag gives the artifact that ref names more tags in its repository. No blob moves.
func (c *Client) Tag(ctx context.Context, ref oci.Reference, tags ...string) (digest.Digest, error) {
	r, err := c.repository(ctx, ref, toWrite)
	if err != nil {
		return "", err
	}
	m, err := r.manifest(ctx, manifestName(ref))
	if err != nil {
		return "", err
	}
	for _, tag := range tags {
		if _, err := r.putManifest(ctx, tag, m.Descriptor.MediaType, m.raw); err != nil {
			return "", err
		}
	}
	return m.Digest, nil
}
