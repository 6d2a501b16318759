package spinpush

import (
	"bytes"
	"context"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
)

// content is a component or an asset.
type content struct {
	blob  publish.Blob
	small []byte // all of it, where it stands in the locked application
}

// read reads a file. Its user knows it as name.
func read(ctx context.Context, path, name, mediaType string) (content, error) {
	info, err := os.Stat(path)
	if err != nil {
		return content{}, fileProblem(name, err)
	}
	if info.Mode().IsRegular() && info.Size() <= inlineMost {
		raw, err := os.ReadFile(path)
		if err != nil {
			return content{}, fileProblem(name, err)
		}
		if len(raw) <= inlineMost { // it may have grown
			d := oci.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
			return content{publish.BytesBlob(d, raw), raw}, nil
		}
	}
	b, err := publish.FileBlob(ctx, path)
	if err != nil {
		return content{}, err
	}
	b.MediaType = mediaType
	c := content{blob: b}
	if b.Size <= inlineMost { // it was longer
		if c.small, err = os.ReadFile(path); err != nil || digest.FromBytes(c.small) != b.Digest {
			return content{}, wrong("file %s changes while it is read", name)
		}
	}
	return c, nil
}

// source gets a component.
func (p *packer) source(ctx context.Context, s source) (c content, err error) {
	name := s.path
	if s.url != "" {
		name = s.url
		c, err = p.download(ctx, s)
	} else {
		c, err = p.local(ctx, name)
	}
	if err != nil {
		return c, err
	}
	return c, isWasm(ctx, c, name)
}

func (p *packer) local(ctx context.Context, path string) (content, error) {
	name, err := inside(path)
	if err != nil {
		return content{}, err
	}
	info, err := p.folder.root.Stat(name)
	switch {
	case err != nil:
		return content{}, fileProblem(name, err)
	case !info.Mode().IsRegular():
		return content{}, wrong("%s is no regular file", name)
	}
	return read(ctx, p.folder.on(name), name, spin.MediaTypeWasm)
}

// isWasm refuses what does not begin as a wasm module or component does.
func isWasm(ctx context.Context, c content, name string) error {
	r, err := c.blob.Open(ctx, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	magic := []byte("\x00asm")
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil || !bytes.Equal(head, magic) {
		return wrong("%s is no wasm module or component", name).try("build it; a text in WAT must be made into wasm first")
	}
	return nil
}
