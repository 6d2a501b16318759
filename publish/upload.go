package publish

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Artifact is what Upload publishes: a manifest, byte for byte, and the blobs that it names.
type Artifact struct {
	MediaType string
	Manifest  []byte
	Blobs     []Blob // one that stands twice is sent once
}

// UploadOptions say where else an artifact goes, and comes from.
type UploadOptions struct {
	Tags      []string // besides the reference's
	MountFrom []string // repositories of the registry that may have the blobs
}

// Uploaded is what an upload did.
type Uploaded struct {
	Digest                 digest.Digest
	Sent, Mounted, Present int   // blobs
	Bytes                  int64 // of the blobs that were sent
}

// Upload puts an artifact into a registry under ref's tag, or by its digest alone where ref has no tag. A digest in ref
// must be the manifest's.
func (c *Client) Upload(ctx context.Context, ref oci.Reference, a Artifact, o UploadOptions) (Uploaded, error) {
	algorithm := digest.SHA256
	if ref.Digest != "" {
		algorithm = ref.Digest.Algorithm()
	}
	done := Uploaded{Digest: algorithm.FromBytes(a.Manifest)}
	if ref.Digest != "" && ref.Digest != done.Digest {
		return Uploaded{}, fault.New(fault.InvalidDigest, "%s: what is pushed has the digest %s", ref, done.Digest).
			Try("leave the digest out of the reference")
	}
	r, err := c.repository(ctx, ref, toWrite, c.sources(ref, a.Blobs, o.MountFrom)...)
	if err != nil {
		return Uploaded{}, err
	}
	if err := c.blobs(ctx, r, a.Blobs, o.MountFrom, &done); err != nil {
		return Uploaded{}, err
	}
	name := ref.Tag
	if name == "" {
		name = done.Digest.String()
	}
	for _, n := range append([]string{name}, o.Tags...) {
		if _, err := r.putManifest(ctx, n, a.MediaType, a.Manifest); err != nil {
			return Uploaded{}, err
		}
	}
	return done, nil
}

// sources are the repositories that blobs may be mounted from.
func (c *Client) sources(ref oci.Reference, blobs []Blob, from []string) (list []string) {
	known := map[string]bool{ref.Repository: true}
	add := func(name string) {
		if !known[name] && name != "" {
			known[name] = true
			list = append(list, name)
		}
	}
	for _, name := range from {
		add(name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range blobs {
		add(c.seen[blobKey{ref.Registry, b.Digest}])
	}
	return list
}

// blobs brings blobs to a repository.
func (c *Client) blobs(ctx context.Context, r *repository, blobs []Blob, from []string, done *Uploaded) error {
	var mu sync.Mutex // guards done
	known := map[digest.Digest]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Parallel)
	for _, b := range blobs {
		if !known[b.Digest] {
			c.progress.add(0, b.Size)
		}
		known[b.Digest] = true
	}
	for _, b := range blobs {
		if !known[b.Digest] {
			continue
		}
		known[b.Digest] = false
		g.Go(func() error {
			how, err := c.put(ctx, r, b, c.mountFrom(ctx, r, b, from))
			if err != nil {
				return err
			}
			c.note(r, b.Digest)
			mu.Lock()
			defer mu.Unlock()
			switch how {
			case present:
				done.Present++
			case mounted:
				done.Mounted++
			case sent:
				done.Sent++
				done.Bytes += b.Size
			}
			return nil
		})
	}
	return g.Wait()
}

// note remembers where a blob is.
func (c *Client) note(r *repository, d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[blobKey{r.host.name, d}] = r.name
}

// mountFrom is the repository to mount a blob from: where it is known to be, else one of from that says that it has it;
// "" for none.
func (c *Client) mountFrom(ctx context.Context, r *repository, b Blob, from []string) string {
	c.mu.Lock()
	seen := c.seen[blobKey{r.host.name, b.Digest}]
	c.mu.Unlock()
	if seen != "" && seen != r.name {
		return seen
	}
	if len(from) == 1 {
		return from[0] // the mount is the question
	}
	for _, name := range from {
		other, err := c.repository(ctx, oci.Reference{Registry: r.host.name, Repository: name}, toRead)
		if err != nil {
			continue
		}
		if ok, err := other.has(ctx, b.Descriptor); err == nil && ok {
			return name
		}
	}
	return ""
}
