package publish

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// sending is what a transfer sends. A request that meets a 401 is sent again, so it may be opened more than once, and net/http
// may go on reading a body after the answer has come: nothing is opened, and no transfer ends, before the last body is closed.
type sending struct {
	*upload
	watch *time.Timer // ends the transfer when nobody reads
	said  atomic.Bool // all is sent, and the registry has the word
	last  *sendingBody
}

func newSending(u *upload, where string, cancel context.CancelCauseFunc) *sending {
	s := &sending{upload: u}
	s.watch = time.AfterFunc(u.limits.Commit, func() {
		reason, limit := fault.UpstreamSlow, u.limits.Idle
		if s.said.Load() {
			reason, limit = fault.UpstreamTimeout, u.limits.Commit
		}
		cancel(fault.New(reason, "%s: nothing from %s for %v", u.what, where, limit))
	})
	return s
}

func (s *sending) open(ctx context.Context) (io.ReadCloser, error) {
	s.wait()
	source, err := s.blob.Open(ctx, s.offset)
	if err != nil {
		return nil, err
	}
	s.said.Store(false)
	s.watch.Reset(s.limits.Idle)
	s.last = &sendingBody{sending: s, source: source, done: s.offset, closed: make(chan struct{})}
	return s.last, nil
}

func (s *sending) wait() {
	if s.last != nil {
		<-s.last.closed
	}
}

// end waits for the last body and returns why its source could not be read.
func (s *sending) end() error {
	s.watch.Stop()
	s.wait()
	s.watch.Stop() // a read may have set it again
	if s.last == nil || errors.Is(s.last.err, context.Canceled) {
		return nil
	}
	return s.last.err
}

// sendingBody is one body.
type sendingBody struct {
	*sending
	closed chan struct{}

	mu     sync.Mutex // guards what follows until closed is
	source io.ReadCloser
	done   int64
	err    error
	once   bool
}

func (b *sendingBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.once {
		return 0, errClosed
	}
	n, err := b.source.Read(p)
	size := b.blob.Size
	b.done += int64(n)
	switch {
	case b.done > size:
		err = fault.New(fault.SizeMismatch, "blob %s: its source has more than its %d bytes", b.blob.Digest, size)
	case err == io.EOF && b.done < size:
		err = fault.New(fault.SizeMismatch, "blob %s: its source has %d bytes, not %d", b.blob.Digest, b.done, size)
	}
	b.count(min(b.done, size))
	if b.done < size {
		b.watch.Reset(b.limits.Idle)
	} else {
		b.said.Store(true)
		b.watch.Reset(b.limits.Commit)
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

var errClosed = errors.New("read after close")

func (b *sendingBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.once {
		return nil
	}
	b.once = true
	defer close(b.closed)
	return b.source.Close()
}
