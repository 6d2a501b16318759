package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/blobd/blobd/internal/vfs"
)

// Check reads all of an entry's bytes; an error says that they are not what the key promises.
type Check func(io.Reader) error

// maxGet is the largest object that Get returns whole.
const maxGet = 64 << 20

// openTries: an entry that is replaced again and again while it is being opened is a miss in the end.
const openTries = 4

// Object is an immutable entry, open for reading. It is left alone until it is closed. ReadAt is safe for concurrent use.
type Object struct {
	c      *Class
	h      *handle
	f      vfs.File
	size   int64
	check  Check         // nil: its bytes are the caller's to check
	stamp  atomic.Uint64 // of the file when it was last found good
	spoilt atomic.Bool   // it was found bad while it was open
	closed atomic.Bool

	checking sync.Mutex // held while the file is checked anew
}

// Open returns the object of that key, which counts as reading it. Its bytes were good when they were written or when
// check last read them, in this process, and the file has not changed since; a nil check leaves that to the caller. A bad
// object is removed, counted, and ErrNotFound like one that is absent or can't be read.
func (c *Class) Open(key Key, check Check) (*Object, error) {
	return c.openUpTo(key, check, math.MaxInt64, true)
}

// Peek is Open for who inspects entries and is no reader: it does not count for recency.
func (c *Class) Peek(key Key, check Check) (*Object, error) {
	return c.openUpTo(key, check, math.MaxInt64, false)
}

// openUpTo is Open for objects of at most that size, and ErrTooLarge for others.
func (c *Class) openUpTo(key Key, check Check, most int64, read bool) (*Object, error) {
	if c.off {
		return nil, ErrNotFound
	}
	for range openTries {
		o, err := c.tryOpen(key, check, most, read)
		if !errors.Is(err, errReplaced) {
			return o, err
		}
	}
	return nil, ErrNotFound
}

// errReplaced: the file was replaced while it was being opened; another try finds the new one.
var errReplaced = errors.New("store: replaced")

func (c *Class) tryOpen(key Key, check Check, most int64, read bool) (*Object, error) {
	h, known, ok := c.hold(key, read)
	if !ok {
		return nil, ErrNotFound
	}
	o, in, err := c.openHeld(h)
	if err != nil {
		return nil, err
	}
	if o.size > most {
		_ = o.Close()
		return nil, fmt.Errorf("%w: %s is %d bytes, more than is read whole", ErrTooLarge, key, in.Size)
	}
	if check == nil {
		return o, nil
	}
	o.check = check
	o.stamp.Store(in.Stamp)
	if known == in.Stamp && !c.s.opts.VerifyAlways {
		return o, nil
	}
	if err := o.verify(in); err != nil {
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

// verify checks the bytes of the file, which was as in tells when that began. A bad one is dropped. The error is
// ErrNotFound.
func (o *Object) verify(in vfs.Info) error {
	r := &readChecker{r: io.NewSectionReader(o.f, 0, o.size)}
	bad := o.check(r)
	switch {
	case bad == nil:
		o.c.confirm(o.h, in)
		return nil
	case r.err != nil:
		o.c.trouble(r.err)
	default:
		o.c.dropBad(o.h.ref.key, in)
	}
	return ErrNotFound
}

// openHeld opens the file of an entry that hold found; on an error it lets go of the handle.
func (c *Class) openHeld(h *handle) (*Object, vfs.Info, error) {
	s, key := c.s, h.ref.key
	if c.shardStands(key.shard()) != nil {
		s.release(h)
		_, _ = s.drop(h.ref, ReasonRemoved, true)
		return nil, vfs.Info{}, ErrNotFound
	}
	f, err := s.fs.Open(c.path(key))
	if err != nil {
		s.release(h)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrNotFile) {
			c.dropBad(key, vfs.Info{})
		} else {
			c.trouble(err)
		}
		return nil, vfs.Info{}, ErrNotFound
	}
	in, err := f.Stat()
	if err != nil {
		f.Close()
		s.release(h)
		c.trouble(err)
		return nil, vfs.Info{}, ErrNotFound
	}
	if !in.Regular || in.Size == 0 {
		f.Close()
		s.release(h)
		c.dropBad(key, in)
		return nil, vfs.Info{}, ErrNotFound
	}
	s.mu.Lock()
	gone := h.gone
	if !gone {
		s.resize(s.x.find(h.ref), in.Allocated)
	}
	s.mu.Unlock()
	if gone {
		f.Close()
		s.release(h)
		return nil, vfs.Info{}, errReplaced
	}
	return &Object{c: c, h: h, f: f, size: in.Size}, in, nil
}

// hold finds an entry and keeps the evictor away from it; with read it becomes the one read last. known is the stamp of
// the file when it was last found good.
func (c *Class) hold(key Key, read bool) (h *handle, known uint64, ok bool) {
	s, r := c.s, ref{key, c.id}
	s.mu.Lock()
	at := s.x.find(r)
	if at == 0 && !c.found {
		s.mu.Unlock()
		c.look(key)
		s.mu.Lock()
		at = s.x.find(r)
	}
	defer s.mu.Unlock()
	if at == 0 || s.closed {
		return nil, 0, false
	}
	if read {
		s.touch(at)
	}
	return s.grab(r), s.x.at(at).verified, true
}

// resize notes what the disk gives up for an entry now. Called with mu held.
func (s *Store) resize(at slot, bytes int64) {
	if at == 0 {
		return
	}
	s.setBytes(s.x.at(at), bytes)
}

// confirm remembers that the file with this stamp is good.
func (c *Class) confirm(h *handle, in vfs.Info) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.gone {
		return
	}
	if at := s.x.find(h.ref); at != 0 {
		s.x.at(at).verified = in.Stamp
	}
}

// dropBad removes the entry whose file is bad, if it is still that file: it has the stamp of seen, which is zero for
// one that could not be opened. What is there in place of a file (a folder, a link) stays and is not an entry any more.
func (c *Class) dropBad(key Key, seen vfs.Info) {
	s, r := c.s, ref{key, c.id}
	stripe := &s.stripes[key.shard()]
	stripe.Lock()
	defer stripe.Unlock()
	in, err := s.fs.Lstat(c.path(key))
	c.dropIfSame(r, seen, in, err)
}

// dropIfSame is dropBad for who holds the stripe and has looked at what is there now.
func (c *Class) dropIfSame(r ref, seen, in vfs.Info, err error) {
	s := c.s
	switch {
	case err == nil && in.Regular && in.Stamp == seen.Stamp:
		s.obs.Corrupted(c.name)
		_, _ = s.dropLocked(r, ReasonCorrupt, true)
	case errors.Is(err, fs.ErrNotExist):
		s.forget(r)
	case err == nil && !in.Regular:
		s.obs.Corrupted(c.name)
		s.forget(r)
	}
}

// forget drops an entry that has no file. Its stripe is held.
func (s *Store) forget(r ref) {
	s.mu.Lock()
	at := s.x.find(r)
	if at != 0 {
		bytes, h := s.x.at(at).bytes(), s.open[r]
		s.takeOut(at)
		if h == nil {
			s.file(s.classes[r.class], -bytes)
		}
	}
	s.mu.Unlock()
	s.classes[r.class].leaveShard(r.key.shard())
}

// Get returns the whole of a small object; otherwise it is Open. One of more than 64 MiB is ErrTooLarge.
func (c *Class) Get(key Key, check func([]byte) error) ([]byte, error) {
	var data []byte // what was read to be checked
	var whole Check
	if check != nil {
		whole = func(r io.Reader) (err error) {
			if data, err = io.ReadAll(r); err != nil {
				return err
			}
			return check(data)
		}
	}
	o, err := c.openUpTo(key, whole, maxGet, true)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if int64(len(data)) == o.size {
		return data, nil
	}
	data = make([]byte, o.size)
	if _, err := o.ReadAt(data, 0); err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrNotFound) {
			c.trouble(err)
		}
		return nil, ErrNotFound
	}
	return data, nil
}

// Put writes a whole object, in place of one that is there. It is durable when the class is. An empty one is not kept:
// an empty file is what a power cut leaves.
func (c *Class) Put(ctx context.Context, key Key, data []byte) error {
	w, err := c.Create(ctx, key, int64(len(data)))
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := bytes.NewReader(data).WriteTo(w); err != nil {
		return err
	}
	return w.Commit()
}

// ReadAt reads as io.ReaderAt does. When the file was touched since it was opened it is checked anew first: one that
// somebody wrote to is ErrNotFound from then on, and none of its bytes stay in p.
func (o *Object) ReadAt(p []byte, off int64) (int, error) {
	for tries := openTries; tries > 0 && !o.spoilt.Load(); tries-- {
		n, err := o.f.ReadAt(p, off)
		if o.check == nil || o.unchanged() {
			return n, err
		}
		clear(p[:n])
	}
	return 0, ErrNotFound
}

// unchanged reports whether the file is as it was when it was last found good: then what was read before is good. When it
// is not it is checked, and is to be read again unless it was found bad.
func (o *Object) unchanged() bool {
	in, err := o.f.Stat()
	if err != nil {
		o.c.trouble(err)
		return false
	}
	if in.Stamp == o.stamp.Load() {
		return true
	}
	o.checking.Lock()
	defer o.checking.Unlock()
	switch {
	case in.Stamp == o.stamp.Load() || o.spoilt.Load(): // found out by another reader
	case in.Size != o.size:
		o.spoilt.Store(true)
		o.c.dropBad(o.h.ref.key, in)
	case o.verify(in) != nil:
		o.spoilt.Store(true)
	default:
		o.stamp.Store(in.Stamp)
	}
	return false
}

// Size returns the object's length in bytes.
func (o *Object) Size() int64 { return o.size }

// File returns the open file, which ends with the object; nil where there is none. It must not be written, and who reads
// it past ReadAt is not told when somebody does.
func (o *Object) File() *os.File { return o.f.OS() }

// Close lets go of the object. A second call does nothing.
func (o *Object) Close() error {
	if o.closed.Swap(true) {
		return nil
	}
	err := o.f.Close()
	o.c.s.release(o.h)
	return err
}

// readChecker remembers that reading failed, to tell a bad disk from bad bytes.
type readChecker struct {
	r   io.Reader
	err error
}

func (r *readChecker) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
