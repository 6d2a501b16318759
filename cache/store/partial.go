package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/blobd/blobd/internal/vfs"
)

// BlockSize is the unit in which partials are filled, in bytes.
const BlockSize = 64 << 10

// AnySize opens a partial that is there without knowing its size, to inspect it: that does not count for recency.
const AnySize = -1

// blockCost is reserved for a block: its bytes, and a page of the table or of the file's extents that it may be the first
// to touch.
const blockCost = BlockSize + page

// touchEvery is how often reading through one handle moves the partial to the front, in nanoseconds: reading a blob of
// 16 GiB block by block is one use, not 262,144.
const touchEvery = int64(1e9)

// Partial is a handle on a sparse entry that fills block by block. It is left alone until the handle is closed. All its
// methods are safe for concurrent use, on one handle and on several: they share what they know.
type Partial struct {
	st      *partialState
	h       *handle
	quiet   bool // reading does not count
	touched atomic.Int64
	closed  atomic.Bool
}

// partialState is what all handles on one partial share.
type partialState struct {
	c        *Class
	key      Key
	f        vfs.File
	size     int64
	blocks   int
	readOnly bool // the disk lets nobody write

	mu     sync.Mutex // guards what follows, and orders writes of records
	chunks []*chunk   // nil: not read yet
	alloc  int64      // what the file takes, as far as charged
	dirty  bool       // written since it was opened
}

// OpenPartial returns a handle on the partial of that key, which is a blob of size bytes (> 0; AnySize takes what is
// there). Where there is none it is made, if create is set, and ErrNotFound otherwise; blobs of more than 1 TiB are
// ErrTooLarge. A file whose header is damaged is removed and counted. One that was made for another size is replaced while
// it holds no block and nobody has it open; otherwise it stays, whoever is wrong about the size, and create gets
// ErrOtherSize.
func (c *Class) OpenPartial(key Key, size int64, create bool) (*Partial, error) {
	if size <= 0 && (create || size != AnySize) {
		return nil, fmt.Errorf("store: partial %s of %d bytes: the size must be more than 0", key, size)
	}
	if size > maxPartial {
		return nil, fmt.Errorf("%w: partial %s of %d bytes", ErrTooLarge, key, size)
	}
	if c.off {
		if create {
			return nil, ErrOff
		}
		return nil, ErrNotFound
	}
	p, err := c.openPartial(key, size, create)
	if !create || !errors.Is(err, ErrNotFound) {
		return p, err
	}
	if err := c.reserve(context.Background(), newPartialSize); err != nil {
		return nil, err
	}
	return c.makePartial(key, size)
}

// openPartial opens what is there. With replace, one of another size is removed.
func (c *Class) openPartial(key Key, size int64, replace bool) (*Partial, error) {
	h, _, ok := c.hold(key, false)
	if !ok {
		return nil, ErrNotFound
	}
	stripe := &c.s.stripes[key.shard()]
	stripe.Lock()
	p, err := c.openHeldPartial(h, size)
	if err != nil {
		_ = c.releasePartial(h)
	}
	if errors.Is(err, errBadHeader) {
		in, lerr := c.s.fs.Lstat(c.path(key))
		c.dropIfSame(h.ref, in, in, lerr)
	}
	stripe.Unlock()
	switch {
	case err == nil:
		if !p.quiet {
			c.s.read(h)
		}
		return p, nil
	case replace && errors.Is(err, errEmpty):
		if _, err := c.s.drop(h.ref, ReasonRemoved, false); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrOtherSize, key, err)
		}
	case replace && errors.Is(err, ErrOtherSize):
		return nil, fmt.Errorf("%w: %s", ErrOtherSize, key)
	}
	return nil, ErrNotFound
}

// errEmpty: the partial is of another size, but holds nothing.
var errEmpty = fmt.Errorf("%w, without a block", ErrOtherSize)

// openHeldPartial opens the file of h, or takes the state of who has it open. Its stripe is held.
func (c *Class) openHeldPartial(h *handle, size int64) (*Partial, error) {
	s := c.s
	s.mu.Lock()
	st, gone := h.part, h.gone
	s.mu.Unlock()
	switch {
	case gone:
		return nil, ErrNotFound
	case st != nil && size != AnySize && st.size != size:
		return nil, ErrOtherSize
	case st != nil:
		return &Partial{st: st, h: h, quiet: size == AnySize}, nil
	}
	st, err := c.readPartial(h.ref.key)
	if err != nil {
		return nil, err
	}
	if size != AnySize && st.size != size {
		empty := st.empty()
		st.f.Close()
		if empty {
			return nil, errEmpty
		}
		return nil, ErrOtherSize
	}
	c.attach(h, st)
	return &Partial{st: st, h: h, quiet: size == AnySize}, nil
}

// attach makes st the state of h.
func (c *Class) attach(h *handle, st *partialState) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	h.part = st
	if at := c.s.x.find(h.ref); at != 0 {
		c.s.resize(at, st.alloc)
		st.alloc = c.s.x.at(at).bytes()
	}
}

// readPartial opens a partial's file and checks its header. The error is errBadHeader when it is not one, and when the
// disk can't read it the observer has heard of that.
func (c *Class) readPartial(key Key) (*partialState, error) {
	if c.shardStands(key.shard()) != nil {
		return nil, errBadHeader
	}
	st := &partialState{c: c, key: key}
	f, err := c.s.fs.OpenRW(c.path(key))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		st.readOnly = true
		f, err = c.s.fs.Open(c.path(key))
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrNotFile) {
			return nil, errBadHeader
		}
		c.trouble(err)
		return nil, err
	}
	st.f = f
	in, err := f.Stat()
	if err == nil {
		st.alloc = in.Allocated
		st.size, err = readHeader(f, key, in.Size)
	}
	if err != nil {
		f.Close()
		if !errors.Is(err, errBadHeader) && !errors.Is(err, io.EOF) {
			c.trouble(err)
			return nil, err
		}
		return nil, errBadHeader
	}
	st.shape()
	return st, nil
}

func (st *partialState) shape() {
	st.blocks = blocksOf(st.size)
	st.chunks = make([]*chunk, (st.blocks+chunkBlocks-1)/chunkBlocks)
}

// makePartial makes an empty partial, with what is reserved for it, or opens the one that somebody made meanwhile.
func (c *Class) makePartial(key Key, size int64) (*Partial, error) {
	s := c.s
	stripe := &s.stripes[key.shard()]
	stripe.Lock()
	defer stripe.Unlock()
	s.mu.Lock()
	closed := s.closed
	var h *handle
	if s.x.find(ref{key, c.id}) != 0 {
		h = s.grab(ref{key, c.id})
	}
	s.mu.Unlock()
	if closed {
		c.giveBack(newPartialSize)
		return nil, ErrClosed
	}
	if h != nil {
		c.giveBack(newPartialSize)
		p, err := c.openHeldPartial(h, size)
		if err != nil {
			_ = c.releasePartial(h)
		}
		if err != nil && !errors.Is(err, ErrOtherSize) {
			err = ErrNotFound
		}
		return p, err
	}
	st := &partialState{c: c, key: key, size: size}
	st.shape()
	if err := c.writePartial(st); err != nil {
		c.giveBack(newPartialSize)
		c.trouble(err)
		return nil, fmt.Errorf("store: creating partial %s in %s: %w", key, c.name, err)
	}
	h = c.register(key, vfs.Info{Allocated: st.alloc}, 0, newPartialSize)
	c.attach(h, st)
	c.works()
	return &Partial{st: st, h: h}, nil
}

// writePartial makes the file of an empty partial and gives it its name. Its stripe is held.
func (c *Class) writePartial(st *partialState) error {
	f, temp, err := c.createTemp()
	if err != nil {
		return err
	}
	err = f.Truncate(recordAt(st.size, st.blocks))
	if err == nil {
		_, err = vfs.WriteAt(f, encodeHeader(st.key, st.size), trailerAt(st.size))
	}
	if err == nil && c.sync {
		err = f.Sync()
	}
	var in vfs.Info
	if err == nil {
		in, err = f.Stat()
	}
	if err == nil {
		err = c.publish(temp, st.key)
	}
	if err != nil {
		c.discardTemp(f, temp, 0)
		return err
	}
	st.f, st.alloc = f, in.Allocated
	return nil
}

// Size returns the blob's length in bytes.
func (p *Partial) Size() int64 { return p.st.size }

// Blocks returns how many blocks the blob has; the last may be short.
func (p *Partial) Blocks() int { return p.st.blocks }

// blockLen is the length of a block.
func (st *partialState) blockLen(block int) int {
	return int(min(BlockSize, st.size-int64(block)*BlockSize))
}

// Has reports whether a block is there. Its bytes are checked when it is read.
func (p *Partial) Has(block int) bool {
	if block < 0 || block >= p.st.blocks {
		return false
	}
	p.st.mu.Lock()
	defer p.st.mu.Unlock()
	ch := p.st.chunk(block)
	return ch != nil && ch.holds(block%chunkBlocks)
}

// Complete reports whether all blocks are there.
func (p *Partial) Complete() bool {
	st := p.st
	st.mu.Lock()
	defer st.mu.Unlock()
	for n := range st.chunks {
		if ch := st.chunk(n * chunkBlocks); ch == nil || ch.count() < st.chunkLen(n) {
			return false
		}
	}
	return true
}

// empty reports whether it is known that no block is there.
func (st *partialState) empty() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for n := range st.chunks {
		if ch := st.chunk(n * chunkBlocks); ch == nil || ch.count() > 0 {
			return false
		}
	}
	return true
}

// chunkLen is how many blocks a piece of the table is about.
func (st *partialState) chunkLen(n int) int { return min(chunkBlocks, st.blocks-n*chunkBlocks) }

// chunk returns the piece of the table that a block is in, reading it when it is asked for first; nil when the disk can't
// read it. Called with mu held.
func (st *partialState) chunk(block int) *chunk {
	n := block / chunkBlocks
	if st.chunks[n] != nil {
		return st.chunks[n]
	}
	first := n * chunkBlocks
	b := make([]byte, st.chunkLen(n)*recordLen)
	got, err := st.f.ReadAt(b, recordAt(st.size, first))
	if err != nil && !errors.Is(err, io.EOF) {
		st.c.trouble(err)
		return nil
	}
	ch, damaged := decodeChunk(b[:got], st.key, st.size, first)
	for range damaged {
		st.c.s.obs.Corrupted(st.c.name)
	}
	st.chunks[n] = ch
	return ch
}

// ReadBlock reads a block into buf, which must be as long as the block at least, checks it, and returns its length.
// ErrNotFound: it is not there, or can't be read; one that is bad is dropped and counted first. Reading counts for
// recency, once a second.
func (p *Partial) ReadBlock(block int, buf []byte) (int, error) {
	st := p.st
	if block < 0 || block >= st.blocks {
		return 0, ErrNotFound
	}
	n := st.blockLen(block)
	if len(buf) < n {
		return 0, io.ErrShortBuffer
	}
	st.mu.Lock()
	ch := st.chunk(block)
	if ch == nil || !ch.holds(block%chunkBlocks) {
		st.mu.Unlock()
		return 0, ErrNotFound
	}
	sum := ch.sums[block%chunkBlocks]
	st.mu.Unlock()
	if _, err := st.f.ReadAt(buf[:n], int64(block)*BlockSize); err != nil && !errors.Is(err, io.EOF) {
		st.c.trouble(err)
		return 0, ErrNotFound
	}
	if crc32.Checksum(buf[:n], castagnoli()) != sum {
		clear(buf[:n])
		st.forget(block, sum)
		return 0, ErrNotFound
	}
	p.touch()
	return n, nil
}

// forget drops a bad block, if it still is the one with that checksum.
func (st *partialState) forget(block int, sum uint32) {
	st.mu.Lock()
	ch, i := st.chunk(block), block%chunkBlocks
	if ch == nil || !ch.holds(i) || ch.sums[i] != sum {
		st.mu.Unlock()
		return
	}
	st.drop(block, block+1)
	st.mu.Unlock()
	st.c.s.obs.Corrupted(st.c.name)
}

func (p *Partial) touch() {
	if p.quiet {
		return
	}
	s := p.st.c.s
	now, last := s.now().UnixNano(), p.touched.Load()
	if now >= last && now-last < touchEvery || !p.touched.CompareAndSwap(last, now) {
		return
	}
	s.read(p.h)
}

// Drop forgets the blocks [first, last); what of them is out of range is ignored. Their space is used again when they are
// written again.
func (p *Partial) Drop(first, last int) {
	p.st.mu.Lock()
	defer p.st.mu.Unlock()
	p.st.drop(max(first, 0), min(last, p.st.blocks))
}

// drop is Drop within the range. Called with mu held.
func (st *partialState) drop(first, last int) {
	for first < last {
		end := min(last, (first/chunkBlocks+1)*chunkBlocks)
		st.dropIn(first, end)
		first = end
	}
}

// dropIn is drop within a piece of the table. What no record stands for is not written, since it takes no room yet; but
// all of a piece that can't be read, since it may say anything.
func (st *partialState) dropIn(first, last int) {
	if ch := st.chunk(first); ch != nil {
		for first < last && !ch.holds(first%chunkBlocks) {
			first++
		}
		for first < last && !ch.holds((last-1)%chunkBlocks) {
			last--
		}
		for b := first; b < last; b++ {
			ch.drop(b % chunkBlocks)
		}
	}
	if first == last || st.readOnly {
		return
	}
	if _, err := vfs.WriteAt(st.f, make([]byte, (last-first)*recordLen), recordAt(st.size, first)); err != nil {
		st.c.trouble(err)
	}
}

// Demote makes the partial the first to go: its bytes are held elsewhere too. Reading it again ends that.
func (p *Partial) Demote() {
	s := p.st.c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.x.find(p.h.ref); at != 0 && !p.h.gone {
		s.chill(at)
	}
}

// Discard closes the partial and removes it, pinned or not: its bytes are held elsewhere. Who else has it open can go on
// reading it.
func (p *Partial) Discard() error {
	s := p.st.c.s
	s.mu.Lock()
	gone := p.h.gone
	s.mu.Unlock()
	if !gone { // else another may be in its place
		_, _ = s.drop(p.h.ref, ReasonRemoved, true) // one that the disk won't remove is evicted when its time comes
	}
	return p.Close()
}

// Close lets go of the partial. A second call does nothing; no other method may be called after it.
func (p *Partial) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	st := p.st
	stripe := &st.c.s.stripes[st.key.shard()]
	stripe.Lock()
	defer stripe.Unlock()
	return st.c.releasePartial(p.h)
}

// releasePartial gives a reference back, and closes the file with the last. Its stripe is held, so that nobody takes up
// the state meanwhile.
func (c *Class) releasePartial(h *handle) error {
	s := c.s
	s.mu.Lock()
	var st *partialState
	if h.refs == 1 {
		st, h.part = h.part, nil
	}
	s.mu.Unlock()
	var err error
	if st != nil {
		st.settle(h, &Reservation{c: c}, 0)
		err = st.close()
	}
	s.release(h)
	return err
}

func (st *partialState) close() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	var err error
	if st.dirty && st.c.sync {
		if err = st.f.Sync(); err != nil {
			st.c.trouble(err)
		}
	}
	if cerr := st.f.Close(); err == nil {
		err = cerr
	}
	return err
}
