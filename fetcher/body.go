package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// wireBody is the body of one answer under the limits for blobs. Only time that a reader spends waiting counts: a
// reader that takes its time is no fault of the registry. Its errors are a fault, the end of the caller's context, or a
// cut of the connection (isCut), and they repeat.
type wireBody struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	limits *Limits
	what   string
	idle   *time.Timer

	waited time.Duration // in the window that is being measured
	got    int64         // bytes in it
	err    error
}

var errClosed = fmt.Errorf("fetcher: body is closed: %w", os.ErrClosed)

// cutError is a connection that ended too early.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

func isCut(err error) bool {
	_, ok := errors.AsType[*cutError](err)
	return ok || errors.Is(err, io.ErrUnexpectedEOF)
}

func newWireBody(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, limits *Limits, what string) *wireBody {
	b := &wireBody{ctx: ctx, cancel: cancel, body: body, limits: limits, what: what}
	b.idle = time.AfterFunc(limits.Idle, func() {
		cancel(fault.New(fault.UpstreamTimeout, "%s: not a byte for %v", what, limits.Idle))
	})
	b.idle.Stop()
	return b
}

func (b *wireBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	began := time.Now()
	b.idle.Reset(b.limits.Idle)
	n, err := b.body.Read(p)
	b.idle.Stop()
	b.waited += time.Since(began)
	b.got += int64(n)
	switch {
	case err == io.EOF:
		b.err = io.EOF
	case err != nil:
		b.err = b.explain(err)
	case b.waited >= b.limits.RateWindow:
		if float64(b.got) < float64(b.limits.MinRate)*b.waited.Seconds() {
			b.err = fault.New(fault.UpstreamSlow, "%s: %d bytes in %v", b.what, b.got, b.waited.Round(time.Second)).
				Try("try again; the registry or the network is too slow")
		}
		b.waited, b.got = 0, 0
	}
	if n > 0 {
		return n, nil // the error comes next
	}
	return 0, b.err
}

func (b *wireBody) explain(err error) error {
	cause := context.Cause(b.ctx)
	if cause == nil {
		return &cutError{err}
	}
	if e, ok := errors.AsType[*fault.Error](cause); ok {
		return e
	}
	return fmt.Errorf("%s: %w", b.what, cause)
}

func (b *wireBody) Close() error {
	b.idle.Stop()
	b.cancel(nil)
	return b.body.Close()
}
