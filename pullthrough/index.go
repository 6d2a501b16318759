package pullthrough

import (
	"context"
	"errors"
	"io"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// fetchedIndex is an index that came from upstream and is not in the cache yet. It waits on disk, so that one that comes
// slowly takes no memory from others meanwhile, or in memory where the disk won't have it.
type fetchedIndex struct {
	desc   oci.Descriptor
	memory int64         // what reading it takes at most
	file   *store.Writer // nil where it is in memory
	raw    []byte
	room   *share // of raw
}

// bringIndex reads an index from upstream, and takes its bytes. When wrong ones come they are fetched once more from
// scratch, and when the disk gives back others than it was given, once more past it.
func (s *Service) bringIndex(ctx context.Context, scope oci.Scope, l layout) (*fetchedIndex, []byte, *share, error) {
	onDisk := true
	for {
		f, err := s.fetchIndex(ctx, scope, l, onDisk)
		if errors.Is(err, fault.DigestMismatch) {
			f, err = s.fetchIndex(ctx, scope, l, onDisk)
		}
		if err != nil {
			return nil, nil, nil, err
		}
		raw, room, err := f.take(ctx, s)
		if err == nil {
			return f, raw, room, nil
		}
		f.close()
		if !errors.Is(err, errSpoilt) {
			return nil, nil, nil, err
		}
		onDisk = false
	}
}

// errSpoilt: the disk does not give back what it was given. What is in memory never ends in it.
var errSpoilt = errors.New("the disk gave back other bytes")

// fetchIndex reads an index from upstream to its end, where its digest is checked.
func (s *Service) fetchIndex(ctx context.Context, scope oci.Scope, l layout, onDisk bool) (*fetchedIndex, error) {
	index := l.index
	if file, err := s.createIndex(ctx, index, onDisk); err == nil {
		f := &fetchedIndex{desc: index, memory: l.memory, file: file}
		disk := &diskWriter{w: file}
		err := s.fetchIndexInto(ctx, scope, index, func(body io.Reader) error {
			_, err := io.Copy(disk, body)
			return err
		})
		if err == nil && file.Size() != index.Size {
			err = ended(io.ErrUnexpectedEOF, index)
		}
		if err == nil {
			return f, nil
		}
		f.close()
		if disk.err == nil {
			return nil, err
		}
	}
	room, err := s.indexRoom.take(ctx, l.memory)
	if err != nil {
		return nil, err
	}
	f := &fetchedIndex{desc: index, memory: l.memory, raw: make([]byte, index.Size), room: room}
	err = s.fetchIndexInto(ctx, scope, index, func(body io.Reader) error {
		if _, err := io.ReadFull(body, f.raw); err != nil {
			return ended(err, index)
		}
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// createIndex makes room for an index on disk, where that is wanted.
func (s *Service) createIndex(ctx context.Context, index oci.Descriptor, wanted bool) (*store.Writer, error) {
	if !wanted {
		return nil, store.ErrOff
	}
	return s.caches.Indexes.Create(ctx, index.Digest, index.Size)
}

func (s *Service) fetchIndexInto(ctx context.Context, scope oci.Scope, index oci.Descriptor, read func(io.Reader) error) error {
	body, err := s.up.Blob(ctx, scope, index)
	if err != nil {
		return err
	}
	defer body.Close()
	return read(body)
}

// take returns the index's bytes, and the share that they are in. It fails with errSpoilt, or for want of memory.
func (f *fetchedIndex) take(ctx context.Context, s *Service) ([]byte, *share, error) {
	if f.file == nil {
		room := f.room
		f.room = nil
		return f.raw, room, nil
	}
	room, err := s.indexRoom.take(ctx, f.memory)
	if err != nil {
		return nil, nil, err
	}
	raw := make([]byte, f.desc.Size)
	if _, err := f.file.ReadAt(raw, 0); err != nil && err != io.EOF {
		room.release()
		return nil, nil, errSpoilt
	}
	if got := f.desc.Digest.Algorithm().FromBytes(raw); got != f.desc.Digest {
		room.release()
		return nil, nil, errSpoilt
	}
	return raw, room, nil
}

// keep gives the index to the cache.
func (f *fetchedIndex) keep() {
	if f.file != nil {
		_ = f.file.Commit() // a disk that refuses is the store's to report
	}
}

// close gives back what was not taken or kept.
func (f *fetchedIndex) close() {
	if f.file != nil {
		_ = f.file.Close()
	}
	if f.room != nil {
		f.room.release()
	}
}

// diskWriter tells a disk that fails from a body that does.
type diskWriter struct {
	w   io.Writer
	err error
}

func (d *diskWriter) Write(p []byte) (n int, err error) {
	n, err = d.w.Write(p)
	d.err = err
	return n, err
}

func ended(err error, d oci.Descriptor) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Wrap(fault.Truncated, err, "blob %s of %d bytes", d.Digest, d.Size)
	}
	return err
}
