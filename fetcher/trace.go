package fetcher

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// send is one request over the wire, on behalf of ctx, as the Tracer is told of it.
func (h *host) send(ctx context.Context, req *http.Request, k kind) (*http.Response, error) {
	t := h.gen.Tracer
	if t == nil {
		return h.transport.RoundTrip(req)
	}
	end := t.Request(ctx, req, h.name, string(k))
	res, err := h.transport.RoundTrip(req)
	if err != nil {
		end(0, 0, classify(req.Context(), "", h.name, err))
		return nil, err
	}
	status, body := res.StatusCode, &tracedBody{ReadCloser: res.Body}
	body.end = sync.OnceFunc(func() {
		var err error
		if cut := body.failed.Load(); cut != nil {
			err = *cut
		}
		end(status, body.got.Load(), err)
	})
	res.Body = body
	return res, nil
}

// tracedBody tells of an answer when it is closed, which may be while it is read.
type tracedBody struct {
	io.ReadCloser
	end    func()
	got    atomic.Int64
	failed atomic.Pointer[error]
}

func (b *tracedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.got.Add(int64(n))
	if err != nil && err != io.EOF {
		b.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (b *tracedBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}
