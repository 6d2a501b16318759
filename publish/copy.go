package publish

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// CopyOptions say what goes along.
type CopyOptions struct {
	Referrers bool // signatures and all else whose subject is copied
	Tags      []string
}

// Copied is what a copy did.
type Copied struct {
	Uploaded
	Manifests int
	Referrers int // of them
}

// maxDepth bounds indexes of indexes, and referrers of referrers.
const maxDepth = 8

// Copy brings the artifact that src names to dst, byte for byte, with all manifests that an index lists. Within one
// registry blobs are mounted, and none moves.
func (c *Client) Copy(ctx context.Context, src, dst oci.Reference, o CopyOptions) (Copied, error) {
	from, err := c.repository(ctx, src, toRead)
	if err != nil {
		return Copied{}, err
	}
	var mount []string
	if src.Registry == dst.Registry && src.Repository != dst.Repository {
		mount = []string{src.Repository}
	}
	to, err := c.repository(ctx, dst, toWrite, mount...)
	if err != nil {
		return Copied{}, err
	}
	m, err := from.manifest(ctx, manifestName(src))
	if err != nil {
		return Copied{}, err
	}
	if dst.Digest != "" && dst.Digest != m.Digest {
		return Copied{}, fault.New(fault.InvalidDigest, "%s: what is copied has the digest %s", dst, m.Digest).
			Try("leave the digest out of the reference")
	}
	x := copying{c: c, from: from, to: to, referrers: o.Referrers, seen: map[digest.Digest]bool{}}
	x.done.Digest = m.Digest
	var names []string
	if dst.Tag != "" {
		names = []string{dst.Tag}
	}
	if err := x.manifest(ctx, m, append(names, o.Tags...), 0); err != nil {
		return Copied{}, err
	}
	return x.done, nil
}

// copying is one copy.
type copying struct {
	c         *Client
	from, to  *repository
	referrers bool
	seen      map[digest.Digest]bool
	done      Copied
}

// manifest copies m after all that it names, and then what refers to it.
func (x *copying) manifest(ctx context.Context, m manifest, names []string, depth int) error {
	if x.seen[m.Digest] {
		return nil
	}
	x.seen[m.Digest] = true
	if depth > maxDepth {
		return fault.New(fault.ManifestInvalid, "%s: manifests are more than %d deep", x.from.named(m.Digest.String()), maxDepth)
	}
	for _, d := range m.Manifests {
		child, err := x.from.manifest(ctx, d.Digest.String())
		if err != nil {
			return err
		}
		if err := x.manifest(ctx, child, nil, depth+1); err != nil {
			return err
		}
	}
	if err := x.blobs(ctx, m); err != nil {
		return err
	}
	if len(names) == 0 {
		names = []string{m.Digest.String()}
	}
	for _, name := range names {
		listed, err := x.to.putManifest(ctx, name, m.Descriptor.MediaType, m.raw)
		if err == nil && m.Subject != nil && !listed {
			entry := m.Descriptor
			entry.ArtifactType, entry.Annotations = m.Manifest.ArtifactType, m.Manifest.Annotations
			err = x.to.list(ctx, m.Subject.Digest, entry)
		}
		if err != nil {
			return err
		}
	}
	x.done.Manifests++
	if !x.referrers {
		return nil
	}
	return x.referring(ctx, m.Digest, depth)
}

func (x *copying) referring(ctx context.Context, d digest.Digest, depth int) error {
	list, err := x.from.referrers(ctx, d, "")
	if err != nil {
		return err
	}
	for _, entry := range list {
		if x.seen[entry.Digest] {
			continue
		}
		m, err := x.from.manifest(ctx, entry.Digest.String())
		if err != nil {
			return err
		}
		if err := x.manifest(ctx, m, nil, depth+1); err != nil {
			return err
		}
		x.done.Referrers++
	}
	return nil
}

// blobs copies the config and the layers of an image manifest.
func (x *copying) blobs(ctx context.Context, m manifest) error {
	if m.IsIndex() {
		return nil
	}
	var blobs []Blob
	for _, d := range append([]oci.Descriptor{m.Config}, m.Layers...) {
		if foreign(d.MediaType) {
			continue
		}
		x.c.note(x.from, d.Digest)
		blobs = append(blobs, Blob{d, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return x.from.open(ctx, d, offset)
		}})
	}
	if err := x.c.blobs(ctx, x.to, blobs, nil, &x.done.Uploaded); err != nil {
		return fmt.Errorf("copy from %s: %w", x.from.named(m.Digest.String()), err)
	}
	return nil
}

// foreign reports whether layers of a type are elsewhere than in registries.
func foreign(mediaType string) bool {
	return strings.Contains(mediaType, ".nondistributable.") || strings.Contains(mediaType, ".foreign.")
}
