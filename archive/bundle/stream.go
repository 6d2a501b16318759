package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// stream is the decoded bytes of a bundle, counted.
type stream struct {
	source source
	packed *bufio.Reader // of source
	gzip   *gzip.Reader  // of packed
	blob   *oci.Descriptor
	limits Limits
	pos    int64 // bytes decoded
	err    error // what ended it
}

// Decode returns the decoded bytes of r, the bytes of blob, which Member.Offset counts. It ends where the bundle does, and
// fails as Read does where the gzip is malformed or the limits of bytes are passed; it does not look at the tar.
func Decode(r io.Reader, blob *oci.Descriptor, limits Limits) io.Reader {
	return &decoded{stream{source: source{Reader: r}, blob: blob, limits: limits.withDefaults()}}
}

// decoded is a stream that says what its errors are about.
type decoded struct{ stream stream }

func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.stream.Read(p)
	if err != nil && err != io.EOF {
		err = d.stream.fail(err)
	}
	return n, err
}

// source is the bundle as it comes. What goes wrong with its coming is not the bundle's fault.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Read reads decoded bytes, which end where the bundle does: every gzip in it has to be whole. An error stays.
func (s *stream) Read(p []byte) (n int, err error) {
	if s.err == nil {
		n, s.err = s.read(p)
	}
	return n, s.err
}

func (s *stream) read(p []byte) (int, error) {
	if s.packed == nil {
		s.packed = bufio.NewReader(&s.source)
		s.gzip = new(gzip.Reader)
		if err := s.nextGzip(); err != nil {
			return 0, noEOF(err)
		}
	}
	n, err := s.gzip.Read(p)
	s.pos += int64(n)
	switch {
	case s.pos > s.limits.Bytes:
		return n, fmt.Errorf("it decodes to more than %d bytes", s.limits.Bytes)
	case s.pos > ratioFrom && s.pos/s.limits.Ratio > s.blob.Size:
		return n, fmt.Errorf("its %d bytes decode to %d and more, over %d times as many", s.blob.Size, s.pos, s.limits.Ratio)
	}
	if err == io.EOF {
		err = s.nextGzip()
	}
	return n, err
}

// nextGzip begins the gzip that comes next; at the end of the bundle it returns io.EOF. The library would go on by
// itself, but takes a header that is cut off in its name for the end.
func (s *stream) nextGzip() error {
	if _, err := s.packed.Peek(1); err != nil {
		return err
	}
	if err := s.gzip.Reset(s.packed); err != nil {
		return noEOF(err)
	}
	s.gzip.Multistream(false)
	return nil
}

// drain reads what follows the last member: zeros, if anything.
func (s *stream) drain() error {
	const size = 32 << 10
	buf, zeros := make([]byte, size), make([]byte, size)
	for {
		n, err := s.Read(buf)
		switch {
		case !bytes.Equal(buf[:n], zeros[:n]):
			return errors.New("something follows its end")
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// fail says which bundle err is about: the bundle's fault unless it did not come whole.
func (s *stream) fail(err error) error {
	if s.source.err != nil {
		return fmt.Errorf("bundle %s: %w", s.blob.Digest, s.source.err)
	}
	return fault.Wrap(fault.IndexInvalid, err, "bundle %s", s.blob.Digest)
}

// noEOF makes an end that comes too early an error that nobody takes for the end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
