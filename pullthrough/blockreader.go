package pullthrough

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// triesPerBlock bounds how often a reader waits for one block that was delivered and then was not there: others may have
// forgotten it, to fetch it anew; a disk that loses what it is given is passed by.
const triesPerBlock = 4

// blockReader reads a range of a blob in order, from disk where the blocks are there and through fetches where not.
// It is for one goroutine.
type blockReader struct {
	ctx   context.Context
	blob  *blob
	scope oci.Scope
	obs   Observer
	bufs  *sync.Pool

	pos, limit int64 // bytes of the blob: [pos, limit) is still to be read
	block      int   // which block buf holds; -1 for none
	buf        *[]byte
	filled     int
	fetched    bool // something came from upstream

	following map[*fetch]*follower
	only      *oci.Scope // set once another scope's fetch has failed: r follows its own scope's
	past      *fetch     // set once the disk has lost what it was given: all that is left comes by it
}

// newBlockReader reads length bytes from offset. It takes over one use of b, which close gives back.
func (s *Service) newBlockReader(ctx context.Context, b *blob, scope oci.Scope, offset, length int64) *blockReader {
	return &blockReader{
		ctx: ctx, blob: b, scope: scope, obs: s.obs, bufs: &s.blockBufs,
		pos: offset, limit: offset + length, block: -1, following: make(map[*fetch]*follower),
	}
}

// Read returns what is at hand and waits only when that is nothing.
func (r *blockReader) Read(p []byte) (int, error) {
	if r.pos >= r.limit {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	i := int(r.pos / blockSize)
	if r.block != i {
		if err := r.load(i); err != nil {
			return 0, err
		}
	}
	within := int(r.pos - int64(i)*blockSize)
	n := copy(p, (*r.buf)[within:r.filled])
	if over := r.pos + int64(n) - r.limit; over > 0 {
		n -= int(over)
	}
	r.pos += int64(n)
	return n, nil
}

// begin waits until the first byte can be read, so that nobody takes room while a registry is slow to begin.
func (r *blockReader) begin() error {
	if r.pos >= r.limit {
		return nil
	}
	return r.load(int(r.pos / blockSize))
}

// atHand reports whether the next byte can be read without waiting.
func (r *blockReader) atHand() bool {
	i := int(r.pos / blockSize)
	return r.pos < r.limit && (r.block == i || r.blob.has(i))
}

// close leaves the fetches that r follows, which ends those that nobody else follows.
func (r *blockReader) close() {
	for f, fo := range r.following {
		f.feed.leave(fo)
	}
	clear(r.following)
	if r.buf != nil {
		r.bufs.Put(r.buf)
		r.buf = nil
	}
	r.blob.release()
}

// load brings block i into buf.
func (r *blockReader) load(i int) error {
	if r.buf == nil {
		r.buf = r.bufs.Get().(*[]byte)
	}
	r.block = -1
	if r.blob.has(i) && !r.awaited(i) {
		r.obs.CacheRequest("block", "hit")
	} else {
		r.obs.CacheRequest("block", "miss")
	}
	if r.past != nil {
		return r.loadPast(i)
	}
	for try := 0; ; {
		if r.blob.has(i) {
			n, err := r.blob.partial.ReadBlock(i, *r.buf)
			if err == nil {
				r.take(i, n)
				return nil
			}
			r.blob.partial.Drop(i, i+1) // it may be there and unreadable, again and again
			r.dropBad(i + 1)
		}
		f, fo := r.follow(i)
		if f == nil {
			continue // it arrived, or its fetch ended, between two looks
		}
		next, err := f.feed.await(r.ctx, fo, i)
		switch {
		case err == nil && i < next:
			r.fetched = true
			if try++; try > triesPerBlock {
				return r.loadPast(i)
			}
			if n, ok := f.feed.copyWindow(i, *r.buf); ok {
				r.take(i, n)
				return nil
			}
			// On disk: the next turn reads it there.
		case err == nil, errors.Is(err, errLagged):
			r.unfollow(f) // what it does not bring is claimed anew
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		default:
			r.unfollow(f)
			switch {
			case errors.Is(err, errDeserted):
			case f.scope != r.scope:
				r.only = &r.scope
			default:
				return err
			}
		}
	}
}

// dropBad drops the blocks from i on that are bad, up to the first good one: damage is seldom that of one block, and what
// is missing comes with one request.
func (r *blockReader) dropBad(i int) {
	for end := blocksOf(r.limit); i < end && r.blob.has(i); i++ {
		if _, err := r.blob.partial.ReadBlock(i, *r.buf); err == nil {
			return
		}
		r.blob.partial.Drop(i, i+1)
	}
}

// loadPast brings block i, and later all after it, past the disk.
func (r *blockReader) loadPast(i int) error {
	for {
		if r.past == nil {
			r.past = newFetch(r.blob, r.scope, i, blocksOf(r.limit))
			r.past.unkept = true
			r.following[r.past], _ = r.past.feed.join(i)
			r.past.launch(r.ctx)
		}
		_, err := r.past.feed.await(r.ctx, r.following[r.past], i)
		if errors.Is(err, errLagged) { // r took its time, and goes on with another
			r.unfollow(r.past)
			r.past = nil
			continue
		}
		if err != nil {
			return err
		}
		n, ok := r.past.feed.copyWindow(i, *r.buf)
		if !ok {
			return fault.New(fault.Internal, "block %d of blob %s did not come", i, r.blob.desc.Digest)
		}
		r.fetched = true
		r.take(i, n)
		return nil
	}
}

// awaited reports whether block i was not there when r first looked: it came by a fetch that r follows.
func (r *blockReader) awaited(i int) bool {
	if len(r.following) == 0 {
		return false
	}
	r.blob.mu.Lock()
	defer r.blob.mu.Unlock()
	for f := range r.following {
		if f.first <= i && i < f.end {
			return true
		}
	}
	return false
}

func (r *blockReader) take(i, n int) {
	r.block, r.filled = i, n
	if len(r.following) == 0 {
		return
	}
	r.blob.mu.Lock()
	var past []*fetch
	for f := range r.following {
		if f.end <= i+1 {
			past = append(past, f)
		}
	}
	r.blob.mu.Unlock()
	for _, f := range past {
		r.unfollow(f)
	}
}

func (r *blockReader) unfollow(f *fetch) {
	if fo, ok := r.following[f]; ok {
		f.feed.leave(fo)
		delete(r.following, f)
	}
}

// follow returns a fetch that brings block i, claiming what is still to be read where none does; nil when the block has
// arrived meanwhile.
func (r *blockReader) follow(i int) (*fetch, *follower) {
	b := r.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has(i) {
		return nil, nil
	}
	for f, fo := range r.following { // one that has ended may hold the block in its window
		if f.covers(i) && f.soon(i) {
			return f, fo
		}
	}
	if f := b.covering(i, r.only); f != nil && f.soon(i) && r.following[f] == nil {
		if fo, ok := f.feed.join(i); ok {
			r.following[f] = fo
			b.owner.svc.joins(r.ctx, f.ctx)
			return f, fo
		}
	}
	if claimed := r.claimFrom(i); len(claimed) > 0 && claimed[0].first == i {
		return claimed[0], r.following[claimed[0]]
	}
	return nil, nil
}

// claimAll claims what is to be read before the first byte is asked for.
func (r *blockReader) claimAll() {
	r.blob.mu.Lock()
	defer r.blob.mu.Unlock()
	r.claimFrom(int(r.pos / blockSize))
}

// moveTo says that r, which claimed what others read, is wanted by none of them before offset any more.
func (r *blockReader) moveTo(offset int64) {
	for f, fo := range r.following {
		f.feed.move(fo, int(offset/blockSize))
	}
}

// claimFrom claims and follows the gaps from block i on; the caller holds the blob's mu.
func (r *blockReader) claimFrom(i int) []*fetch {
	claimed := r.blob.claim(r.scope, r.only, i, blocksOf(r.limit))
	for _, f := range claimed {
		r.following[f], _ = f.feed.join(f.first)
		f.launch(r.ctx)
	}
	return claimed
}
