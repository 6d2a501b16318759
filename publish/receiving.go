package publish

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// open reads a blob of the repository from offset on.
func (r *repository) open(ctx context.Context, d oci.Descriptor, offset int64) (io.ReadCloser, error) {
	q := request{
		what: fmt.Sprintf("blob %s of %s", d.Digest, r), method: http.MethodGet, url: r.url("blobs/"+d.Digest.String(), nil), header: http.Header{},
	}
	if offset > 0 {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	b := &receiving{what: q.what, where: r.host.name, idle: r.limits.Idle, ctx: ctx, cancel: cancel}
	b.watch = time.AfterFunc(r.limits.Idle, func() {
		cancel(fault.New(fault.UpstreamSlow, "%s: nothing from %s for %v", q.what, r.host.name, r.limits.Idle))
	})
	res, err := r.send(ctx, q)
	if err == nil && res.StatusCode != http.StatusOK && (offset == 0 || res.StatusCode != http.StatusPartialContent) {
		raw, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		_ = res.Body.Close()
		e := r.refusal(q.what, res, raw)
		if e.Reason == fault.ManifestUnknown {
			e.Reason = fault.BlobUnknown
		}
		err = e
	}
	if err != nil {
		b.watch.Stop()
		cancel(nil)
		return nil, err
	}
	b.body = res.Body
	if offset == 0 {
		b.sum = d.Digest.Verifier()
	} else if res.StatusCode == http.StatusOK { // ranges are not for this registry
		if _, err := io.CopyN(io.Discard, b, offset); err != nil {
			_ = b.Close()
			return nil, err
		}
	}
	return b, nil
}

// receiving is the body of a blob that comes. Read from its start it ends in io.EOF only when it is what its digest says.
type receiving struct {
	what, where string
	idle        time.Duration
	ctx         context.Context
	cancel      context.CancelCauseFunc
	watch       *time.Timer
	body        io.ReadCloser
	sum         digest.Verifier // nil: not from the start
}

func (b *receiving) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.watch.Reset(b.idle)
	if b.sum != nil {
		_, _ = b.sum.Write(p[:n]) // a hash takes all
	}
	switch {
	case err == nil:
	case err == io.EOF:
		if b.sum != nil && !b.sum.Verified() {
			return n, fault.New(fault.DigestMismatch, "%s: %s sent other bytes", b.what, b.where)
		}
	case err == io.ErrUnexpectedEOF:
		return n, fault.Wrap(fault.Truncated, err, "%s: %s broke off", b.what, b.where)
	default:
		return n, networkFault(b.ctx, b.what, b.where, err)
	}
	return n, err
}

func (b *receiving) Close() error {
	b.watch.Stop()
	b.cancel(nil)
	return b.body.Close()
}
