package publish

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/blobd/blobd/internal/oci"
)

// Blob is something to publish: what it is, and where its bytes come from.
type Blob struct {
	oci.Descriptor
	// Open reads the blob from offset to its end, each time the same bytes. It is called when the registry does not have
	// the blob, and again when an upload has to go on or to begin anew.
	Open func(ctx context.Context, offset int64) (io.ReadCloser, error)
}

// BytesBlob is a blob whose bytes are at hand.
func BytesBlob(d oci.Descriptor, raw []byte) Blob {
	return Blob{d, func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw[offset:])), nil
	}}
}

// How a blob came to be where it should.
type outcome int

const (
	present outcome = iota // it was there
	mounted                // the registry took it from another repository
	sent
)

// has asks whether the repository has a blob.
func (r *repository) has(ctx context.Context, d oci.Descriptor) (bool, error) {
	a, err := r.ask(ctx, request{
		what: fmt.Sprintf("blob %s in %s", d.Digest, r), method: http.MethodHead, url: r.url("blobs/"+d.Digest.String(), nil),
	}, http.StatusOK, http.StatusNotFound)
	return err == nil && a.StatusCode == http.StatusOK, err
}
