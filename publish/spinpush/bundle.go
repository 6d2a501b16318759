package spinpush

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/publish"
)

// bundle puts the assets of a component into one file. The same assets give the same bytes: they are sorted, and have
// neither times nor owners.
func (p *packer) bundle(ctx context.Context, x part) (b publish.Blob, err error) {
	f, err := p.app.temporary()
	if err != nil {
		return b, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	for i, a := range x.assets {
		if err := member(ctx, t, a.path, x.files[i].blob); err != nil {
			return b, err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return b, err
	}
	b, err = publish.FileBlob(ctx, f.Name())
	b.MediaType = spin.MediaTypeBundle
	return b, err
}

// member adds a file, which must be what it was when its digest was taken.
func member(ctx context.Context, t *tar.Writer, path string, b publish.Blob) error {
	r, err := b.Open(ctx, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Size: b.Size, Mode: 0o644}); err != nil {
		return err
	}
	sum := sha256.New()
	if n, err := io.Copy(io.MultiWriter(t, sum), io.LimitReader(r, b.Size)); err != nil {
		return err
	} else if n != b.Size || digest.NewDigest(digest.SHA256, sum) != b.Digest {
		return wrong("file %s changes while it is read", path)
	}
	return nil
}
