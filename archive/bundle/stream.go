package bundle

import (
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
	gzip   *gzip.Reader
	blob   *oci.Descriptor
	limits Limits
	pos    int64 // bytes decoded
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

func (s *stream) Read(p []byte) (int, error) {
	if s.gzip == nil {
		var err error
		if s.gzip, err = gzip.NewReader(&s.source); err != nil {
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
	return n, err
}

// drain reads what follows the last member: zeros, if anything.
func (s *stream) drain() error {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return errors.New("something follows its end")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
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
