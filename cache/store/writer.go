package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/blobd/blobd/internal/vfs"
)

const (
	// firstStep is what is reserved for a writer that does not know its size; then growStep times what it has, within
	// the bounds. Small files do not block much of the budget, and large ones do not ask often.
	firstStep = 64 << 10
	growShare = 2
	maxStep   = 8 << 20
	// settleEvery is how many bytes are written before the disk is asked what they take.
	settleEvery = 8 << 20
)

var (
	errCommitted = errors.New("store: writer is committed or closed")
	// errTouched: somebody else changed the file before it was whole. What is in it now nobody knows.
	errTouched = errors.New("store: the file was changed by somebody else while it was written")
)

// Writer writes one object. Nobody sees it before Commit. Write, Commit and Close are for one goroutine at a time; ReadAt
// and Size may be called beside them by any.
type Writer struct {
	c    *Class
	key  Key
	ctx  context.Context
	f    vfs.File
	temp string
	size atomic.Int64

	own   sync.Mutex // held while the writer itself changes the file, and to look whether anybody else has; taken after mu
	stamp uint64     // the file's after the writer's own last change; 0 before the first; guarded by own

	mu       sync.Mutex // guards what follows
	reserved int64      // of the budget, not yet on disk
	used     int64      // on disk, as far as settled
	settled  int64      // the size at that time
	failed   error      // of the first write that failed
	h        *handle    // once committed
	done     bool       // committed, or closed
	closed   bool
}

// Create begins an object of about size bytes, -1 when that is not known, and reserves the space; it may wait for room to
// be made. ctx is for that and for what more is reserved by Write. The error is ErrTooLarge, ErrNoSpace, ErrOff,
// ErrClosed, ctx's, or the disk's.
func (c *Class) Create(ctx context.Context, key Key, size int64) (*Writer, error) {
	want := int64(firstStep)
	if size >= 0 {
		want = max(footprint(size), page)
	}
	if err := c.reserve(ctx, want); err != nil {
		return nil, err
	}
	f, temp, err := c.createTemp()
	if err != nil {
		c.giveBack(want)
		c.trouble(err)
		return nil, fmt.Errorf("store: creating %s in %s: %w", key, c.name, err)
	}
	return &Writer{c: c, key: key, ctx: ctx, f: f, temp: temp, reserved: want}, nil
}

func (c *Class) giveBack(n int64) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.unreserve(c, n)
}

// Write appends p. After an error all further calls return it.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return 0, errCommitted
	}
	if w.failed != nil {
		return 0, w.failed
	}
	at := w.size.Load()
	if err := w.grow(at + int64(len(p))); err != nil {
		w.failed = err
		return 0, err
	}
	n, err := w.write(p, at)
	w.size.Store(at + int64(n))
	if errors.Is(err, errTouched) {
		w.failed = err
		return 0, err
	}
	if err != nil {
		w.c.trouble(err)
		w.failed = fmt.Errorf("store: writing %s in %s: %w", w.key, w.c.name, err)
		w.settle()
		return n, w.failed
	}
	if w.size.Load()-w.settled >= settleEvery {
		w.settle()
	}
	return n, nil
}

// write is the one place where the file's bytes change, between two looks at its stamp.
func (w *Writer) write(p []byte, at int64) (int, error) {
	w.own.Lock()
	defer w.own.Unlock()
	if !w.untouched() {
		return 0, errTouched
	}
	n, err := vfs.WriteAt(w.f, p, at)
	in, statErr := w.f.Stat()
	if statErr == nil {
		w.stamp = in.Stamp
	}
	return n, errors.Join(err, statErr)
}

// untouched reports whether nobody but the writer has changed the file. Called with own held.
func (w *Writer) untouched() bool {
	if w.stamp == 0 {
		return true
	}
	in, err := w.f.Stat()
	return err == nil && in.Stamp == w.stamp
}

// grow reserves what a file of that size needs beyond what is reserved.
func (w *Writer) grow(size int64) error {
	have := w.reserved + max(w.used, footprint(w.settled))
	need := footprint(size) - have
	if need <= 0 {
		return nil
	}
	step := max(need, min(have/growShare, maxStep))
	err := w.c.reserve(w.ctx, step)
	if err != nil && step > need {
		step = need
		err = w.c.reserve(w.ctx, step)
	}
	if err != nil {
		return err
	}
	w.reserved += step
	return nil
}

// settle asks the disk what the file takes, and turns as much of the reservation into used bytes.
func (w *Writer) settle() {
	in, err := w.f.Stat()
	if err != nil {
		return
	}
	more := in.Allocated - w.used
	spent := min(max(more, 0), w.reserved)
	w.used, w.settled = in.Allocated, w.size.Load()
	w.reserved -= spent
	s := w.c.s
	s.mu.Lock()
	s.charge(w.c, more)
	s.spend(w.c, spent)
	s.mu.Unlock()
}

// ReadAt reads what was written so far, and returns io.EOF at its end. It works until Close, as long as nobody but the
// writer touches the file, and is ErrNotFound then.
func (w *Writer) ReadAt(p []byte, off int64) (int, error) {
	have := w.size.Load() - off
	if have <= 0 {
		return 0, io.EOF
	}
	short := int64(len(p)) > have
	if short {
		p = p[:have]
	}
	n, err := w.f.ReadAt(p, off)
	w.own.Lock()
	good := w.untouched()
	w.own.Unlock()
	if !good {
		clear(p[:n])
		return 0, ErrNotFound
	}
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// Size returns the number of bytes written so far.
func (w *Writer) Size() int64 { return w.size.Load() }

// CommitAs is Commit under another key than Create was given: one that is known only when all has passed.
func (w *Writer) CommitAs(key Key) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.key = key
	}
	return w.commit()
}

// Commit publishes the object, in place of one that is there: from now on Open finds it. It is durable when the class is.
// After an error the object is not there and only Close is left to do. An empty object is not kept, without an error.
func (w *Writer) Commit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.commit()
}

// commit is called with mu held.
func (w *Writer) commit() error {
	if w.done {
		return errCommitted
	}
	if w.failed != nil {
		return w.failed
	}
	if w.size.Load() == 0 {
		return nil
	}
	if err := w.publish(); err != nil {
		w.failed = err
		if !errors.Is(err, ErrClosed) && !errors.Is(err, errTouched) {
			w.c.trouble(err)
			w.failed = fmt.Errorf("store: committing %s in %s: %w", w.key, w.c.name, err)
		}
		return w.failed
	}
	w.done = true
	w.c.works()
	return nil
}

func (w *Writer) publish() error {
	c, s := w.c, w.c.s
	if c.sync {
		if err := w.f.Sync(); err != nil {
			return err
		}
	}
	w.own.Lock()
	defer w.own.Unlock()
	if !w.untouched() {
		return errTouched
	}
	if err := w.f.ReadOnly(); err != nil {
		return err
	}
	n := w.key.shard()
	s.stripes[n].Lock()
	defer s.stripes[n].Unlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if err := c.publish(w.temp, w.key); err != nil {
		return err
	}
	// From here on the object is there whatever happens.
	if c.sync {
		if err := s.fs.SyncDir(c.shardDir(n)); err != nil {
			c.trouble(err)
		}
	}
	in, err := w.f.Stat()
	if err != nil {
		in = vfs.Info{Allocated: w.used + w.reserved}
	}
	w.stamp = in.Stamp
	w.h = c.register(w.key, in, w.used, w.reserved)
	w.used, w.reserved = 0, 0
	return nil
}

// register makes a published file an entry, in place of the one whose file it replaced, and gives back what was reserved
// for it. The returned handle is the writer's. The key's stripe is held.
func (c *Class) register(key Key, in vfs.Info, used, reserved int64) *handle {
	s, r := c.s, ref{key, c.id}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.x.find(r)
	if at != 0 {
		old := s.x.at(at)
		if s.open[r] == nil {
			s.file(c, -old.bytes())
		} else {
			s.orphan(r, old.bytes())
		}
		old.setBytes(0)
	} else {
		at = s.x.insert(r)
		c.entries++
		c.shards[key.shard()].files++
	}
	e := s.x.at(at)
	e.clear(flagUnseen)
	e.verified = in.Stamp
	s.setBytes(e, in.Allocated)
	s.charge(c, -used)
	spent := min(max(e.bytes()-used, 0), reserved)
	s.spend(c, spent)
	s.unreserve(c, reserved-spent)
	s.touch(at)
	return s.grab(r)
}

// Close ends the writer; what was not committed is gone. A second call does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if w.h != nil {
		err := w.f.Close()
		w.c.s.release(w.h)
		return err
	}
	w.done = true
	w.settle()
	w.c.discardTemp(w.f, w.temp, w.used)
	w.c.giveBack(w.reserved)
	w.used, w.reserved = 0, 0
	return nil
}
