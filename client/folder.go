package client

import (
	"errors"
	"io"
	"io/fs"
	"iter"

	"google.golang.org/grpc/codes"
)

// folder is an open folder. Its entries arrive as they are asked for.
type folder struct {
	archive *Archive
	entry   *Entry
	next    func() (*Entry, error, bool) // nil before the first ReadDir
	stop    func()
	closed  bool
}

var _ fs.ReadDirFile = (*folder)(nil)

func (d *folder) Stat() (fs.FileInfo, error) {
	if d.closed {
		return nil, d.fail("stat", fs.ErrClosed)
	}
	return d.entry.Info(), nil
}

func (d *folder) Read([]byte) (int, error) { return 0, d.fail("read", errIsDirectory) }

func (d *folder) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.closed {
		return nil, d.fail("readdir", fs.ErrClosed)
	}
	if d.next == nil {
		d.next, d.stop = iter.Pull2(d.archive.List(d.archive.ctx, d.entry.Path, false))
	}
	entries := []fs.DirEntry{}
	for n <= 0 || len(entries) < n {
		e, err, ok := d.next()
		if !ok {
			break
		}
		if err != nil {
			return entries, d.fail("readdir", errors.Unwrap(err))
		}
		entries = append(entries, info{e})
	}
	if n > 0 && len(entries) == 0 {
		return entries, io.EOF
	}
	return entries, nil
}

func (d *folder) Close() error {
	if d.closed {
		return d.fail("close", fs.ErrClosed)
	}
	d.closed = true
	if d.stop != nil {
		d.stop()
	}
	return nil
}

func (d *folder) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: d.entry.Path, Err: err}
}

var errIsDirectory error = &Error{
	Code: codes.InvalidArgument, Reason: "IS_DIRECTORY", Message: "is a directory",
}
