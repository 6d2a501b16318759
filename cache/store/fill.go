package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/blobd/blobd/internal/vfs"
)

// Reservation is room for blocks that are going to be written. Release must be called; it is safe for concurrent use.
type Reservation struct {
	c      *Class
	left   int64 // bytes; guarded by Store.mu, as is blocks
	blocks int   // that may still be written
}

// Reserve promises room for so many blocks, and may wait for room to be made. The error is ErrNoSpace, ErrTooLarge when
// the class could never hold so many at once, ErrClosed or ctx's.
func (p *Partial) Reserve(ctx context.Context, blocks int) (*Reservation, error) {
	blocks = max(blocks, 0)
	n := int64(blocks)*blockCost + 2*page
	if err := p.st.c.reserve(ctx, n); err != nil {
		return nil, err
	}
	return &Reservation{c: p.st.c, left: n, blocks: blocks}, nil
}

// Release gives back what was not used. A second call does nothing.
func (r *Reservation) Release() {
	s := r.c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreserve(r.c, r.left)
	r.left, r.blocks = 0, 0
}

var errReadOnly = errors.New("the file can't be written")

// WriteBlock writes a whole block (the last may be short), with room from res; nil reserves for this block alone. A block
// that is there already is left as it is. The error is ErrNoSpace when res has no room left, or the disk's.
func (p *Partial) WriteBlock(res *Reservation, block int, data []byte) error {
	st := p.st
	if block < 0 || block >= st.blocks || len(data) != st.blockLen(block) {
		return fmt.Errorf("store: partial %s: %d bytes are not block %d of a blob of %d", st.key, len(data), block, st.size)
	}
	if p.Has(block) {
		return nil
	}
	if st.readOnly {
		return st.writeError(block, errReadOnly)
	}
	if res == nil {
		own, err := p.Reserve(context.Background(), 1)
		if err != nil {
			return err
		}
		defer own.Release()
		res = own
	}
	if err := res.take(); err != nil {
		return err
	}
	_, err := vfs.WriteAt(st.f, data, int64(block)*BlockSize)
	if err == nil {
		err = st.record(block, crc32.Checksum(data, castagnoli()))
	}
	st.settle(p.h, res, blockCost)
	if err != nil {
		st.c.trouble(err)
		return st.writeError(block, err)
	}
	st.c.works()
	return nil
}

func (st *partialState) writeError(block int, err error) error {
	return fmt.Errorf("store: writing block %d of partial %s in %s: %w", block, st.key, st.c.name, err)
}

// take takes one block from the reservation. Its bytes are taken when the disk has told how many they are.
func (r *Reservation) take() error {
	r.c.s.mu.Lock()
	defer r.c.s.mu.Unlock()
	switch {
	case r.c.s.closed:
		return ErrClosed
	case r.blocks == 0:
		return ErrNoSpace
	}
	r.blocks--
	return nil
}

// record vouches for a block whose bytes were written.
func (st *partialState) record(block int, sum uint32) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.dirty = true
	ch, i := st.chunk(block), block%chunkBlocks
	if ch == nil {
		return errReadOnly
	}
	if _, err := vfs.WriteAt(st.f, encodeRecord(st.key, st.size, block, sum), recordAt(st.size, block)); err != nil {
		return err
	}
	ch.add(i)
	ch.sums[i] = sum
	return nil
}

// settle asks the disk what the file takes now, and takes that much from the reservation. When the disk does not say, the
// file is taken to have grown by guess.
func (st *partialState) settle(h *handle, res *Reservation, guess int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	in, err := st.f.Stat()
	if err != nil {
		in.Allocated = st.alloc + guess
	}
	s := st.c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	more := in.Allocated - st.alloc
	st.alloc = in.Allocated
	spent := min(max(more, 0), res.left)
	res.left -= spent
	s.spend(st.c, spent)
	if h.gone {
		h.alloc += more
		s.charge(st.c, more)
		return
	}
	s.resize(s.x.find(h.ref), in.Allocated)
}
