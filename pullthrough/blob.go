package pullthrough

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/oci"
)

const (
	blockSize = store.BlockSize
	// gapsAtOnce is how many ranged GETs one reader starts ahead of itself; the rest follow as it comes to them.
	gapsAtOnce = 8
	// expressBlocks is how far ahead of a running fetch a block may be before a reader that wants it gets a fetch of its
	// own: 64 MiB, about a second on a fast link. What both want is then fetched twice; a shorter distance would do that
	// to readers that merely overlap.
	expressBlocks = (64 << 20) / blockSize
)

// blobs holds the shared state of every blob that somebody is reading.
type blobs struct {
	svc *Service

	mu   sync.Mutex // guards open and the blobs' users; taken after a blob's own mu
	open map[blobKey]*blob
}

// blobKey names a blob by what a manifest says of it. The size is part of it so that a manifest that lies about it harms
// nobody but its own readers.
type blobKey struct {
	digest digest.Digest
	size   int64
}

// blob is one blob, shared by all who read it: which of its blocks are on disk, and which are on their way.
type blob struct {
	owner *blobs
	desc  oci.Descriptor
	count int // blocks
	users int // guarded by owner.mu

	opening sync.Once
	partial *store.Partial // set by opening; nil where blocks can't be kept
	filled  atomic.Bool    // the last missing block came
	doubled atomic.Bool    // it is one file, and the content cache holds that

	mu      sync.Mutex // guards fetches and what they claim
	fetches []*fetch   // those under way, and those whose window still serves
}

// acquire returns the blob's shared state; release gives it back.
func (bs *blobs) acquire(desc oci.Descriptor) *blob {
	bs.mu.Lock()
	key := blobKey{desc.Digest, desc.Size}
	b, ok := bs.open[key]
	if !ok {
		b = &blob{owner: bs, desc: desc, count: blocksOf(desc.Size)}
		bs.open[key] = b
	}
	b.users++
	bs.mu.Unlock()
	b.opening.Do(func() {
		if p, err := bs.svc.caches.Blocks.Open(desc.Digest, desc.Size, true); err == nil {
			b.partial = p
		}
	})
	return b
}

// release gives back one use of b; each fetch is a use too.
func (b *blob) release() {
	bs := b.owner
	bs.mu.Lock()
	b.users--
	last := b.users == 0
	if last {
		delete(bs.open, blobKey{b.desc.Digest, b.desc.Size})
	}
	bs.mu.Unlock()
	switch {
	case !last || b.partial == nil:
	case b.doubled.Load():
		b.partial.Discard()
	case b.filled.Load() && b.partial.Complete(): // what was forgotten since needs no check
		bs.svc.goes(func() {
			b.checkWhole(bs.svc.base)
			b.partial.Close()
		})
	default:
		b.partial.Close()
	}
}

func (b *blob) retain() {
	b.owner.mu.Lock()
	b.users++
	b.owner.mu.Unlock()
}

func blocksOf(size int64) int { return int((size + blockSize - 1) / blockSize) }

// blockLen is the length of block i; the last may be short.
func (b *blob) blockLen(i int) int { return int(min(blockSize, b.desc.Size-int64(i)*blockSize)) }

// has reports whether block i is on disk.
func (b *blob) has(i int) bool { return b.partial != nil && b.partial.Has(i) }

// covering returns the fetch that will bring block i soonest, or nil; with only set, those of other scopes don't count. The
// caller holds mu.
func (b *blob) covering(i int, only *oci.Scope) *fetch {
	var best *fetch
	for _, f := range b.fetches {
		if only != nil && f.scope != *only || !f.covers(i) {
			continue
		}
		if best == nil || f.next() > best.next() {
			best = f
		}
	}
	return best
}

// claim makes a fetch for each gap of [i, end) that is neither on its way nor on disk; the caller holds mu, follows
// those it wants and then launches all of them. only is that of covering. The order of the two questions matters: a
// block that arrives between them is on disk before it is no longer on its way.
func (b *blob) claim(scope oci.Scope, only *oci.Scope, i, end int) []*fetch {
	var claimed []*fetch
	for i < end && len(claimed) < gapsAtOnce {
		if b.soon(i, only) || b.has(i) {
			i++
			continue
		}
		first := i
		for i < end && !b.soon(i, only) && !b.has(i) {
			i++
		}
		f := newFetch(b, scope, first, i)
		b.fetches = append(b.fetches, f)
		claimed = append(claimed, f)
	}
	return claimed
}

// soon reports whether a fetch under way will bring block i before long; the caller holds mu.
func (b *blob) soon(i int, only *oci.Scope) bool {
	f := b.covering(i, only)
	return f != nil && f.soon(i)
}

// finish takes f, which nobody reads any more, off the list of fetches.
func (b *blob) finish(f *fetch) {
	f.feed.room.release()
	b.mu.Lock()
	b.fetches = slices.DeleteFunc(b.fetches, func(g *fetch) bool { return g == f })
	b.mu.Unlock()
	b.release()
}

// forget drops the blocks that hold [offset, offset+length) of the blob, so that the next reader fetches them anew.
func (b *blob) forget(offset, length int64) {
	if b.partial != nil && length > 0 {
		b.partial.Drop(int(offset/blockSize), blocksOf(offset+length))
	}
}
