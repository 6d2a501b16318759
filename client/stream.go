package client

import (
	"context"
	"io"
	"io/fs"

	"google.golang.org/grpc/mem"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

// copyBuffer is what WriteTo collects before it writes: gRPC's own pieces are 16 KiB, a system call each.
const copyBuffer = 256 << 10

// Stream is a file, or a part of one, on its way. Bytes pass on as they arrive; only a stream that ends in io.EOF was right to
// its end.
type Stream struct {
	entry    *Entry
	length   int64
	verified bool
	steps    []Step

	name   string
	cancel context.CancelFunc
	recv   func() error // takes the next message
	data   mem.BufferSlice
	free   func() // gives data back
	piece  int    // of data, the one being read
	offset int    // in it
	got    int64  // bytes that have come
	err    error  // what the stream ended in
}

// OpenRange reads length bytes of a file from offset; a negative length, or one past the end, goes to the end. It
// returns when the first answer is there. The stream holds resources until Close or an error, io.EOF included.
func (a *Archive) OpenRange(name string, offset, length int64) (*Stream, error) {
	if !fs.ValidPath(name) {
		return nil, invalidPath("read", name)
	}
	request := &blobdv1.ReadFileRequest{Reference: a.Reference, Path: name, Offset: offset, Options: a.options}
	if length >= 0 {
		request.Length = &length
	}
	ctx, cancel := context.WithCancel(a.ctx)
	s := &Stream{name: name, cancel: cancel}
	if err := s.begin(ctx, a.api, request); err != nil {
		cancel()
		return nil, s.pathError(err)
	}
	return s, nil
}

// OpenBlob begins to read one of the artifact's blobs, as the registry holds it, by its digest. The stream is like
// OpenRange's, and its Entry's path is the digest.
func (a *Archive) OpenBlob(digest string) (*Stream, error) {
	ctx, cancel := context.WithCancel(a.ctx)
	s := &Stream{name: digest, cancel: cancel}
	if err := s.begin(ctx, a.api, &blobdv1.ReadFileRequest{Reference: a.Reference, Blob: digest, Options: a.options}); err != nil {
		cancel()
		return nil, s.pathError(err)
	}
	return s, nil
}

func (s *Stream) begin(ctx context.Context, api blobdv1.BlobdServiceClient, request *blobdv1.ReadFileRequest) error {
	stream, err := api.ReadFile(ctx, request)
	if err != nil {
		return err
	}
	var msg wire.Response
	s.free = msg.Free
	s.recv = func() error {
		err := stream.RecvMsg(&msg)
		s.data = msg.Data
		if sum := msg.Summary; err == nil && sum != nil {
			s.verified, s.steps = sum.GetVerified(), steps(sum.GetSteps())
		}
		return err
	}
	if err := s.first(); err != nil {
		return err
	}
	h := msg.Header
	if h == nil || h.GetLength() < 0 {
		return errNoHeader
	}
	s.entry, s.length = entry(h.GetEntry()), h.GetLength()
	return nil
}

// first takes the message that holds the header.
func (s *Stream) first() error {
	err := s.recv()
	if err == io.EOF {
		err = badAnswer("the daemon's answer is empty")
	}
	return err
}

var errNoHeader = badAnswer("the daemon's answer has no header")

// Entry describes the file; of one by address it tells the digest, and the size where that is known, else -1.
func (s *Stream) Entry() *Entry { return s.entry }

// Len is how many bytes the whole stream has; -1 where the site of a file by address does not say.
func (s *Stream) Len() int64 { return s.length }

// Verified reports, once the stream has ended in io.EOF, whether the file's digest was checked. It is false for a part
// of a file that is not cached whole.
func (s *Stream) Verified() bool { return s.verified }

// Steps tells, once the stream has ended in io.EOF, where the bytes came from.
func (s *Stream) Steps() []Step { return s.steps }

// Read reads what has arrived, and waits where nothing has.
func (s *Stream) Read(p []byte) (n int, err error) {
	for n < len(p) && (n == 0 || s.piece < len(s.data)) {
		b, err := s.next()
		if err != nil {
			return n, err
		}
		c := copy(p[n:], b)
		s.consume(c)
		n += c
	}
	return n, nil
}

// finish waits for the word that all bytes, which were read before, were right.
func (s *Stream) finish() error {
	_, err := s.next()
	if err == io.EOF {
		return nil
	}
	return err
}

// WriteTo writes all that is left to w.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	size := int64(copyBuffer)
	if s.length >= 0 {
		size = min(size, s.length)
	}
	buf := make([]byte, 0, size)
	var written int64
	flush := func() error {
		n, err := w.Write(buf)
		written += int64(n)
		buf = buf[:0]
		return err
	}
	for {
		b, err := s.next()
		if err != nil {
			if len(buf) > 0 {
				if werr := flush(); werr != nil {
					return written, werr
				}
			}
			if err == io.EOF {
				err = nil
			}
			return written, err
		}
		n := copy(buf[len(buf):cap(buf)], b)
		buf = buf[:len(buf)+n]
		s.consume(n)
		// Nothing waits in the buffer while the next bytes are awaited.
		if len(buf) == cap(buf) || s.piece >= len(s.data) {
			if err := flush(); err != nil {
				return written, err
			}
		}
	}
}

// Close ends the stream, wherever it is. It never fails.
func (s *Stream) Close() error {
	s.end(fs.ErrClosed)
	return nil
}

// next returns bytes that have arrived, at least one, waiting for them if need be.
func (s *Stream) next() ([]byte, error) {
	for s.err == nil {
		if s.piece < len(s.data) {
			if b := s.data[s.piece].ReadOnlyData()[s.offset:]; len(b) > 0 {
				return b, nil
			}
			s.piece, s.offset = s.piece+1, 0
			continue
		}
		s.receive()
	}
	return nil, s.err
}

// consume says that n bytes of what next returned are done with.
func (s *Stream) consume(n int) {
	s.offset += n
	if s.piece < len(s.data) && s.offset == s.data[s.piece].Len() {
		s.piece, s.offset = s.piece+1, 0
	}
}

// receive takes the next message, or the end.
func (s *Stream) receive() {
	s.drop()
	err := s.recv()
	switch {
	case err == io.EOF && s.got < s.length:
		s.end(badAnswer("the daemon's answer is %d bytes short", s.length-s.got))
		return
	case err != nil:
		s.end(err)
		return
	}
	if s.got += int64(s.data.Len()); s.length >= 0 && s.got > s.length {
		s.end(badAnswer("the daemon's answer is longer than it said"))
	}
}

// end is the stream's one end: later ones change nothing.
func (s *Stream) end(err error) {
	if s.err != nil {
		return
	}
	if s.err = err; err != io.EOF {
		s.err = s.pathError(err)
	}
	s.drop()
	s.cancel()
}

// drop gives back what was read.
func (s *Stream) drop() {
	s.free()
	s.data, s.piece, s.offset = nil, 0, 0
}

func (s *Stream) pathError(err error) error { return &fs.PathError{Op: "read", Path: s.name, Err: err} }
