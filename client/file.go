package client

import (
	"io"
	"io/fs"
	"sync/atomic"

	"google.golang.org/grpc/codes"
)

// file is an open file. Reads in sequence share one stream, each ReadAt has one of its own.
type file struct {
	archive *Archive
	entry   *Entry
	offset  int64
	stream  *Stream // at offset; nil before the first Read and after a Seek
	closed  atomic.Bool
}

var (
	_ fs.File     = (*file)(nil)
	_ io.ReaderAt = (*file)(nil)
	_ io.Seeker   = (*file)(nil)
	_ io.WriterTo = (*file)(nil)
)

func (f *file) Stat() (fs.FileInfo, error) {
	if f.closed.Load() {
		return nil, f.fail("stat", fs.ErrClosed)
	}
	return f.entry.Info(), nil
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.open(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.stream.Read(p)
	f.offset += int64(n)
	return n, err
}

func (f *file) WriteTo(w io.Writer) (int64, error) {
	if err := f.open(); err != nil {
		return 0, err
	}
	n, err := f.stream.WriteTo(w)
	f.offset += n
	return n, err
}

// open makes sure of a stream at the offset. Beyond the end there is nothing to ask for, so it starts at the end.
func (f *file) open() (err error) {
	if f.closed.Load() {
		return f.fail("read", fs.ErrClosed)
	}
	if f.stream == nil {
		f.stream, err = f.archive.OpenRange(f.entry.Path, min(f.offset, f.entry.Size), -1)
	}
	return err
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	switch {
	case f.closed.Load():
		return 0, f.fail("read", fs.ErrClosed)
	case offset < 0:
		return 0, f.fail("read", errNegativeOffset)
	case offset >= f.entry.Size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	s, err := f.archive.OpenRange(f.entry.Path, offset, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer s.Close()
	n, err := io.ReadFull(s, p[:min(int64(len(p)), s.Len())])
	if err != nil {
		return n, err
	}
	if err := s.finish(); err != nil {
		return n, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch {
	case f.closed.Load():
		return 0, f.fail("seek", fs.ErrClosed)
	case whence == io.SeekStart:
	case whence == io.SeekCurrent:
		offset += f.offset
	case whence == io.SeekEnd:
		offset += f.entry.Size
	default:
		return 0, f.fail("seek", fs.ErrInvalid)
	}
	if offset < 0 {
		return 0, f.fail("seek", errNegativeOffset)
	}
	if f.stream != nil && (offset != f.offset || f.stream.err != nil) {
		f.stream.Close()
		f.stream = nil
	}
	f.offset = offset
	return offset, nil
}

func (f *file) Close() error {
	if f.closed.Swap(true) {
		return f.fail("close", fs.ErrClosed)
	}
	if f.stream != nil {
		f.stream.Close()
	}
	return nil
}

func (f *file) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.entry.Path, Err: err}
}

var errNegativeOffset error = &Error{
	Code: codes.InvalidArgument, Reason: "INVALID_ARGUMENT", Message: "negative offset",
}
