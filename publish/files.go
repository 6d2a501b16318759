package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// File is a file of an artifact whose blobs are files.
type File struct {
	Path      string // where it is
	Title     string // what it is called in the artifact
	MediaType string // "" is DefaultFileType
}

const (
	// AnnotationTitle names the file that a blob is (OCI image spec, "Pre-Defined Annotation Keys").
	AnnotationTitle = "org.opencontainers.image.title"
	// DefaultFileType is the type of a blob that is some file.
	DefaultFileType = "application/vnd.oci.image.layer.v1.tar"
	// DefaultArtifactType is what an artifact is that nobody named.
	DefaultArtifactType = "application/vnd.unknown.artifact.v1"
)

// FilesOptions say what an artifact of files is like.
type FilesOptions struct {
	UploadOptions
	ArtifactType string // "" is DefaultArtifactType
	Annotations  map[string]string
	Epoch        *time.Time // when it was made; nil: now
}

// FilesArtifact makes an artifact of files, a blob each, whose config is the empty JSON object.
func FilesArtifact(ctx context.Context, files []File, o FilesOptions) (Artifact, error) {
	m := oci.Manifest{
		MediaType: oci.MediaTypeImageManifest, ArtifactType: o.ArtifactType, Config: oci.EmptyConfig(),
		Annotations: created(o.Annotations, o.Epoch),
	}
	if m.ArtifactType == "" {
		m.ArtifactType = DefaultArtifactType
	}
	a := Artifact{MediaType: m.MediaType, Blobs: []Blob{emptyConfig()}}
	titles := map[string]bool{}
	for _, f := range files {
		switch {
		case !fs.ValidPath(f.Title) || f.Title == ".":
			return Artifact{}, fault.New(fault.InvalidPath, "file %s: it can't be called %q in an artifact", f.Path, f.Title).
				Try("name it by a path below the current folder")
		case titles[f.Title]:
			return Artifact{}, fault.New(fault.InvalidPath, "file %s: another one is called %q in the artifact already", f.Path, f.Title)
		}
		titles[f.Title] = true
		b, err := FileBlob(ctx, f.Path)
		if err != nil {
			return Artifact{}, err
		}
		if b.MediaType = f.MediaType; b.MediaType == "" {
			b.MediaType = DefaultFileType
		}
		b.Annotations = map[string]string{AnnotationTitle: f.Title}
		m.Layers = append(m.Layers, b.Descriptor)
		a.Blobs = append(a.Blobs, b)
	}
	a.Manifest = m.Encode()
	return a, nil
}

// PushFiles publishes files as an artifact.
func (c *Client) PushFiles(ctx context.Context, files []File, ref oci.Reference, o FilesOptions) (Uploaded, error) {
	a, err := FilesArtifact(ctx, files, o)
	if err != nil {
		return Uploaded{}, err
	}
	return c.Upload(ctx, ref, a, o.UploadOptions)
}

// FileBlob is a file as a blob. It is read now, to know its digest, and when it is sent; when it has changed meanwhile
// that is an error which names it.
func FileBlob(ctx context.Context, name string) (Blob, error) {
	sum := sha256.New()
	f, err := os.Open(name)
	if err != nil {
		return Blob{}, fault.Wrap(fault.InvalidArgument, err, "file %s", name)
	}
	defer f.Close()
	found, err := f.Stat()
	if err == nil && !found.Mode().IsRegular() {
		return Blob{}, fault.New(fault.InvalidArgument, "%s is no regular file", name).Try("push a folder as an archive, without --files")
	}
	if err != nil {
		return Blob{}, fileError(name, err)
	}
	size, err := io.Copy(sum, &reading{ctx, f})
	if err != nil {
		return Blob{}, fileError(name, err)
	}
	d := oci.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum.Sum(nil))), Size: size}
	return Blob{d, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, fileError(name, err)
		}
		now, err := f.Stat()
		if err == nil && (now.Size() != size || !now.ModTime().Equal(found.ModTime()) || !os.SameFile(found, now)) {
			err = errChanged
		}
		if err == nil {
			_, err = f.Seek(offset, io.SeekStart)
		}
		if err != nil {
			_ = f.Close()
			return nil, fileError(name, err)
		}
		return &readingFile{reading{ctx, f}, f}, nil
	}}, nil
}

// reading ends with its context.
type reading struct {
	ctx context.Context
	io.Reader
}

func (r *reading) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

type readingFile struct {
	reading
	io.Closer
}
