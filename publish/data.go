package publish

import (
	"bytes"
	"context"
	"io"
	"iter"
	"os"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
)

// dataReader is the data of an archive, made from its files as it is read.
type dataReader struct {
	ctx   context.Context
	root  *os.Root
	next  func() (archive.Entry, error, bool)
	stop  func()
	enc   *fileEncoder
	out   bytes.Buffer
	skip  int64 // of what comes out of the file at hand, the bytes before the offset
	entry archive.Entry
	file  *os.File
	x     *encoding // nil: no file is at hand
	err   error
}

func newDataReader(ctx context.Context, root *os.Root, e *blobfmt.Encoder, offset int64) (*dataReader, error) {
	enc, err := newFileEncoder()
	if err != nil {
		return nil, err
	}
	r := &dataReader{ctx: ctx, root: root, enc: enc}
	r.next, r.stop = iter.Pull2(func(yield func(archive.Entry, error) bool) {
		for entry, err := range e.Entries() {
			at, _ := entry.Locator.(archive.Range)
			if err == nil && at.Offset+at.Length <= offset {
				continue // all of it is there
			}
			if !yield(entry, err) {
				return
			}
		}
	})
	r.skip = offset
	return r, nil
}

func (r *dataReader) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.err == nil && r.ctx.Err() != nil {
			r.err = context.Cause(r.ctx)
		}
		if r.err == nil {
			r.err = r.advance()
		}
		if r.err != nil && r.out.Len() == 0 {
			return 0, r.err
		}
	}
	return r.out.Read(p)
}

// advance goes on with the file at hand, or opens the next.
func (r *dataReader) advance() error {
	if r.x == nil {
		entry, err, ok := r.next()
		if err != nil {
			return err
		}
		if !ok {
			return io.EOF
		}
		return r.begin(entry)
	}
	more, err := r.x.step(&r.out)
	if err != nil {
		return fileError(r.entry.Path, err)
	}
	if r.skip > 0 {
		r.skip -= int64(len(r.out.Next(int(min(r.skip, int64(r.out.Len()))))))
	}
	if !more {
		_ = r.file.Close()
		r.x, r.file = nil, nil
	}
	return nil
}

func (r *dataReader) begin(entry archive.Entry) error {
	at := entry.Locator.(archive.Range) // the encoder takes no other
	info, err := r.root.Lstat(entry.Path)
	if err != nil {
		return fileError(entry.Path, err)
	}
	if !info.Mode().IsRegular() || info.Size() != entry.Size {
		return fileError(entry.Path, errChanged)
	}
	if r.file, err = openFile(r.root, entry.Path, info); err != nil {
		return err
	}
	r.entry = entry
	r.skip = max(r.skip-at.Offset, 0)
	r.x = r.enc.begin(r.file, entry.Size, at.Codec)
	r.x.want = &entry.Sum
	return nil
}

func (r *dataReader) Close() error {
	r.stop()
	r.enc.close()
	if r.file != nil {
		return r.file.Close()
	}
	return nil
}
