package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Compression is how an archive's files are stored.
type Compression string

// The compressions. Auto stores a file as it is when a sample of it does not shrink: parts of such a file can be read
// without the rest.
const (
	CompressNone Compression = "none"
	CompressZstd Compression = "zstd"
	CompressAuto Compression = "auto"
)

// ArchiveOptions say what an archive is like. The zero value stores files as they are, with their owners and times.
type ArchiveOptions struct {
	UploadOptions
	Compress    Compression
	Annotations map[string]string
	// Epoch makes the archive reproducible: it is every file's time and that of the archive, owners are left out, and so
	// files with the same names, bytes and permission bits give the same digest.
	Epoch *time.Time
}

// AnnotationCreated is when an artifact was made (OCI image spec, "Pre-Defined Annotation Keys").
const AnnotationCreated = "org.opencontainers.image.created"

// Packed is a folder as an archive, not yet pushed. Only its index is kept, in a temporary file; the data is made again
// from the folder's files each time it is read, and what is no longer as it was is an error that names the file.
type Packed struct {
	Files   int64
	Size    int64 // of the files
	Data    oci.Descriptor
	Index   oci.Descriptor
	Skipped Skipped

	root     *os.Root
	spool    *os.File
	encoder  *blobfmt.Encoder
	manifest []byte
}

// Pack reads a folder twice: now, to know its digests, and when it is pushed. Close must be called.
func (c *Client) Pack(ctx context.Context, dir string, o ArchiveOptions) (_ *Packed, err error) {
	p := &Packed{}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.root, err = os.OpenRoot(dir); err != nil {
		return nil, fault.Wrap(fault.InvalidArgument, err, "folder %s", dir).Try("name a folder that this user can read")
	}
	if p.spool, err = os.CreateTemp("", "blobd-push-"); err != nil {
		return nil, err
	}
	p.encoder = blobfmt.NewEncoder(p.spool)
	if err := p.add(ctx, c, o); err != nil {
		return nil, err
	}
	p.manifest = p.describe(o).Encode()
	return p, nil
}

// Close removes what Pack kept.
func (p *Packed) Close() {
	if p.spool != nil {
		_ = p.spool.Close()
		_ = os.Remove(p.spool.Name())
	}
	if p.root != nil {
		_ = p.root.Close()
	}
}

// add encodes all files, one after another, only to know what comes out.
func (p *Packed) add(ctx context.Context, c *Client, o ArchiveOptions) error {
	data := &summing{sum: sha256.New()}
	enc, err := newFileEncoder()
	if err != nil {
		return err
	}
	defer enc.close()
	err = walk(ctx, p.root, &p.Skipped, func(path string, info os.FileInfo) error {
		f, err := openFile(p.root, path, info)
		if err != nil {
			return err
		}
		defer f.Close()
		e := archive.Entry{Path: path, Size: info.Size(), Mode: info.Mode().Perm(), HasSum: true}
		if o.Epoch != nil {
			e.ModTime = o.Epoch.UnixNano()
		} else {
			e.ModTime = info.ModTime().UnixNano()
			e.UID, e.GID = owner(info)
		}
		at := archive.Range{Offset: data.n}
		if at.Codec, err = enc.codec(o.Compress, f, e.Size); err != nil {
			return fileError(path, err)
		}
		if e.Sum, err = enc.encode(ctx, data, f, e.Size, at.Codec); err != nil {
			return fileError(path, err)
		}
		at.Length = data.n - at.Offset
		e.Locator = at
		p.Files++
		p.Size += e.Size
		c.progress.add(e.Size, 0) // how much there is shows only at the end
		return p.encoder.Add(e)
	})
	if err != nil {
		return err
	}
	c.progress.add(-p.Size, 0)
	p.Data = oci.Descriptor{Digest: digest.NewDigest(digest.SHA256, data.sum), Size: data.n}
	index := &summing{sum: sha256.New()}
	if _, err := io.Copy(index, p.encoder.Index(p.Data)); err != nil {
		return err
	}
	p.Index = oci.Descriptor{Digest: digest.NewDigest(digest.SHA256, index.sum), Size: index.n}
	return nil
}

func (p *Packed) describe(o ArchiveOptions) oci.Manifest {
	return blobfmt.Manifest(p.Index, p.Data, created(o.Annotations, o.Epoch))
}

// created adds when an artifact was made to its annotations, unless they say so.
func created(annotations map[string]string, epoch *time.Time) map[string]string {
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	if _, ok := all[AnnotationCreated]; !ok {
		now := time.Now()
		if epoch != nil {
			now = *epoch
		}
		all[AnnotationCreated] = now.UTC().Format(time.RFC3339)
	}
	return all
}

// Artifact is what Upload takes.
func (p *Packed) Artifact() Artifact {
	return Artifact{
		MediaType: oci.MediaTypeImageManifest, Manifest: p.manifest,
		Blobs: []Blob{
			emptyConfig(),
			{p.Index, p.openIndex},
			{p.Data, p.openData},
		},
	}
}

// emptyConfig is the config of artifacts that need none.
func emptyConfig() Blob { return BytesBlob(oci.EmptyConfig(), []byte(oci.EmptyJSON)) }

func (p *Packed) openIndex(_ context.Context, offset int64) (io.ReadCloser, error) {
	r := p.encoder.Index(p.Data)
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

func (p *Packed) openData(ctx context.Context, offset int64) (io.ReadCloser, error) {
	return newDataReader(ctx, p.root, p.encoder, offset)
}

// PushArchive publishes a folder as a blob archive: Pack and Upload.
func (c *Client) PushArchive(ctx context.Context, dir string, ref oci.Reference, o ArchiveOptions) (*Packed, Uploaded, error) {
	p, err := c.Pack(ctx, dir, o)
	if err != nil {
		return nil, Uploaded{}, err
	}
	defer p.Close()
	done, err := c.Upload(ctx, ref, p.Artifact(), o.UploadOptions)
	return p, done, err
}

// fileError names the file that could not be read.
func fileError(path string, err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e
	}
	return &fault.Error{What: "file " + path, Err: err}
}
