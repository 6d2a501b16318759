package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// Archive is the tree of files of one artifact, as an fs.FS. Whatever happens to the tag it was pulled by, it reads the
// digest in its Resolution. It needs no closing, and no longer works once its Client is closed.
//
// The methods of io/fs know no context: they run to their end, or until the Client is closed, on an Archive that
// WithContext did not bind to one.
type Archive struct {
	Resolution
	Files      int64
	Size       int64 // bytes of all files, uncompressed
	StoredSize int64 // bytes of the artifact's blobs, as the registry holds them

	api     blobdv1.BlobdServiceClient
	ctx     context.Context
	options *blobdv1.ReadOptions // of reads of bytes
}

var (
	_ fs.FS         = (*Archive)(nil)
	_ fs.ReadFileFS = (*Archive)(nil)
	_ fs.ReadDirFS  = (*Archive)(nil)
	_ fs.StatFS     = (*Archive)(nil)
)

// WithContext returns the same archive with ctx for the methods that take none, and for what they open.
func (a *Archive) WithContext(ctx context.Context) *Archive {
	b := *a
	b.ctx = ctx
	return &b
}

// Open opens a file or folder. A file is an io.ReaderAt, io.Seeker and io.WriterTo; a folder is an fs.ReadDirFile. Bytes
// are fetched when they are read. A Read passes on what has arrived, and ends in an error instead of io.EOF when the
// file turns out not to be what its archive says. Who reads nothing for the daemon's idle time-out, a minute by default,
// in the midst of a sequence of Reads gets an error with the reason READER_IDLE, and can go on after a Seek to where it is.
func (a *Archive) Open(name string) (fs.File, error) {
	e, err := a.stat("open", name)
	if err != nil {
		return nil, err
	}
	if e.Directory {
		return &folder{archive: a, entry: e}, nil
	}
	return &file{archive: a, entry: e}, nil
}

// Stat describes a file or folder.
func (a *Archive) Stat(name string) (fs.FileInfo, error) {
	e, err := a.stat("stat", name)
	if err != nil {
		return nil, err
	}
	return e.Info(), nil
}

func (a *Archive) stat(op, name string) (*Entry, error) {
	if !fs.ValidPath(name) {
		return nil, invalidPath(op, name)
	}
	r, err := a.api.Stat(a.ctx, &blobdv1.StatRequest{Reference: a.Reference, Path: name})
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return entry(r.GetEntry()), nil
}

// ReadFile returns a whole file once its bytes were checked, in a slice made to measure.
func (a *Archive) ReadFile(name string) ([]byte, error) {
	s, err := a.OpenRange(name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	data := make([]byte, s.Len())
	if _, err := io.ReadFull(s, data); err != nil {
		return nil, err
	}
	if err := s.finish(); err != nil {
		return nil, err
	}
	return data, nil
}

// ReadDir returns a folder's entries, sorted by name.
func (a *Archive) ReadDir(name string) ([]fs.DirEntry, error) {
	var all []fs.DirEntry
	for e, err := range a.List(a.ctx, name, false) {
		if err != nil {
			return all, &fs.PathError{Op: "readdir", Path: name, Err: errors.Unwrap(err)}
		}
		all = append(all, info{e})
	}
	return all, nil
}

// List yields the entries of a folder, or with recursive those of the whole tree below it in the order of fs.WalkDir,
// as they arrive; the folder itself is not among them. After an error, an *fs.PathError, it ends.
func (a *Archive) List(ctx context.Context, name string, recursive bool) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if !fs.ValidPath(name) {
			yield(nil, invalidPath("list", name))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		fail := func(err error) { yield(nil, &fs.PathError{Op: "list", Path: name, Err: err}) }
		stream, err := a.api.List(ctx, &blobdv1.ListRequest{Reference: a.Reference, Path: name, Recursive: recursive})
		if err != nil {
			fail(err)
			return
		}
		for {
			m, err := stream.Recv()
			if err == io.EOF {
				return
			}
			if err != nil {
				fail(err)
				return
			}
			for _, e := range m.GetEntries() {
				if p := e.GetPath(); !fs.ValidPath(p) || p == "." {
					fail(badAnswer("the daemon listed a path that can't be: %q", p))
					return
				}
				if !yield(entry(e), nil) {
					return
				}
			}
		}
	}
}

func invalidPath(op, name string) *fs.PathError {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
}
