package pullthrough

import (
	"context"
	"io"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// fetch is one GET of a run of blocks. Readers of any of them follow its feed; whoever started it has no special place.
type fetch struct {
	blob   *blob
	scope  oci.Scope
	feed   *feed
	ctx    context.Context // ends with the last follower, or the service
	cancel context.CancelFunc

	// What it claims; guarded by blob.mu.
	first, end int
	whole      bool // the registry ignores ranges: the whole blob comes, whatever was asked
	keeps      bool // with whole: the disk has room for all of it
	sought     int  // from here on remaining looks for a block that only this fetch brings

	unkept bool // past the disk, for one reader
}

func newFetch(b *blob, scope oci.Scope, first, end int) *fetch {
	f := &fetch{blob: b, scope: scope, first: first, end: end}
	f.ctx, f.cancel = context.WithCancel(b.owner.svc.base)
	f.feed = newFeed(first, b.owner.svc.decodeRoom, f.abandon)
	return f
}

// abandon ends a fetch that nobody follows any more; but the whole of a blob that can be kept is taken to its end, since
// a registry without ranges would send it from the start again for the next file.
func (f *fetch) abandon(ended bool) {
	if ended {
		f.blob.finish(f)
		return
	}
	f.blob.mu.Lock()
	keep := f.whole && f.keeps
	f.blob.mu.Unlock()
	if !keep {
		f.cancel()
	}
}

// soon reports whether block i, which f covers, comes before long; the caller holds blob.mu.
func (f *fetch) soon(i int) bool { return f.whole || i-f.next() <= expressBlocks }

// covers reports whether block i is still to come; the caller holds blob.mu.
func (f *fetch) covers(i int) bool {
	if i < f.first || i >= f.end {
		return false
	}
	next, ended, _ := f.feed.progress()
	return !ended && i >= next || f.feed.inWindow(i)
}

// next is the block that comes next.
func (f *fetch) next() int {
	next, _, _ := f.feed.progress()
	return next
}

// launch starts the transfer, for caller. Its followers must have joined before: one without any may end at once.
func (f *fetch) launch(caller context.Context) {
	svc := f.blob.owner.svc
	ctx, land := svc.departs(f.ctx, caller, "blocks", f.blob.desc.Digest.String)
	f.ctx = ctx
	f.blob.retain()
	svc.goes(func() {
		defer f.cancel()
		defer svc.flies("blocks", f.blob.desc.Digest.String, f.feed.followers)()
		_, err := guard(func() (struct{}, error) { return struct{}{}, f.transfer(f.ctx) })
		outcome := svc.outcome(f.ctx, err)
		land(outcome)
		held := f.feed.end(outcome)
		if err == nil && f.blob.partial != nil && f.blob.partial.Complete() {
			f.blob.filled.Store(true)
		}
		if !held {
			f.blob.finish(f)
		}
	})
}

// transfer moves the claimed blocks from upstream to disk, or past it.
func (f *fetch) transfer(ctx context.Context) error {
	b := f.blob
	room := f.reserve(ctx, f.end-f.first)
	defer func() {
		if room != nil {
			room.Release()
		}
	}()

	offset := int64(f.first) * blockSize
	length := min(int64(f.end)*blockSize, b.desc.Size) - offset
	body, err := b.owner.svc.up.Range(ctx, f.scope, b.desc, offset, length)
	if err != nil {
		return err
	}
	defer body.Close()
	if body.Offset != offset || body.Length != length {
		if body.Offset != 0 || body.Length != b.desc.Size {
			return fault.New(fault.BadRange, "blob %s: asked for %d bytes from %d, got %d from %d",
				b.desc.Digest, length, offset, body.Length, body.Offset)
		}
		if more := f.takeWhole(ctx); more != nil {
			if room != nil {
				room.Release()
			}
			room = more
		}
	}

	buf := make([]byte, blockSize)
	for i := f.next(); ; i++ {
		if end, done := f.remaining(i); done || i >= end {
			return nil
		}
		chunk := buf[:b.blockLen(i)]
		if _, err := io.ReadFull(body, chunk); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = fault.New(fault.Truncated, "blob %s ended at byte %d of %d", b.desc.Digest, int64(i)*blockSize, b.desc.Size)
			}
			return err
		}
		if err := f.deliver(ctx, room, i, chunk); err != nil {
			return err
		}
	}
}

// takeWhole turns f into a fetch of the whole blob, which is what a registry that ignores ranges sends; it returns room
// for all of it, or nil.
func (f *fetch) takeWhole(ctx context.Context) *store.Reservation {
	b := f.blob
	room := f.reserve(ctx, b.count)
	b.mu.Lock()
	defer b.mu.Unlock()
	f.whole, f.keeps = true, room != nil
	f.first, f.end, f.sought = 0, b.count, 0
	f.feed.begin(0)
	return room
}

// reserve sets space aside for n blocks; nil means that they can't be kept.
func (f *fetch) reserve(ctx context.Context, n int) *store.Reservation {
	if f.blob.partial == nil || f.unkept {
		return nil
	}
	room, err := f.blob.partial.Reserve(ctx, n)
	if err != nil {
		return nil
	}
	return room
}

// remaining tells where the claim ends, and whether all of it from block i on is on disk or on its way elsewhere.
func (f *fetch) remaining(i int) (end int, done bool) {
	b := f.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	if i >= f.end {
		return f.end, true
	}
	if f.unkept || !b.has(i) {
		return f.end, false
	}
	for f.sought = max(f.sought, i); f.sought < f.end; f.sought++ {
		if !f.elsewhere(f.sought) && !b.has(f.sought) {
			return f.end, false
		}
	}
	f.end = i
	return i, true
}

// elsewhere reports whether another fetch will bring block i; the caller holds blob.mu.
func (f *fetch) elsewhere(i int) bool {
	for _, g := range f.blob.fetches {
		if g != f && g.covers(i) {
			return true
		}
	}
	return false
}

// deliver keeps block i on disk, or in the window where the disk won't have it, and tells the readers.
func (f *fetch) deliver(ctx context.Context, room *store.Reservation, i int, chunk []byte) error {
	b := f.blob
	if room != nil {
		if b.has(i) || b.partial.WriteBlock(room, i, chunk) == nil {
			f.feed.publish()
			return nil
		}
	}
	return f.feed.publishUnkept(ctx, chunk)
}
