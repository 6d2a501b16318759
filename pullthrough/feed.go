package pullthrough

import (
	"context"
	"sync"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

const (
	// windowMost is how much of an unkept feed stays in memory for the slowest reader: 2 MiB of 64 KiB chunks carry it over
	// the jitter of a socket. Where there is no room for that it is windowLeast: one chunk to read while one is written.
	windowLeast, windowMost = 2, 32
	// laggardGrace is how long the slowest reader of an unkept feed may hold up one that has nothing left to read.
	laggardGrace = time.Second
	// stallLimit is how long the readers of an unkept feed may hold up its producer, which has a connection or a decoder
	// that others may want. They get a producer of their own when they go on.
	stallLimit = 5 * time.Second
)

// feed is a growing sequence of chunks, written by one producer and followed by any number of readers. Where the chunks
// are kept is the producer's affair; a feed whose chunks nothing keeps holds the last of them in memory, and its producer
// waits for the slowest reader, but not for one that holds another up, and not for ever.
type feed struct {
	mu      sync.Mutex // guards all below
	first   int        // chunks before it were never part of the feed
	next    int        // chunks in [first, next) were published
	ended   bool
	err     error         // why it ended early; nil when it is whole
	changed chan struct{} // closed and replaced whenever anything above or a follower changes
	readers map[*follower]struct{}
	joined  int              // readers so far
	window  map[int][]byte   // nil where chunks are kept elsewhere
	held    bool             // it has ended, and its window still serves those who follow it or join them
	chunks  int              // how many the window may hold
	room    *share           // what it holds beyond windowLeast
	needed  func() bool      // reports whether somebody wants what the producer holds while it waits; may be nil: somebody may
	idle    func(ended bool) // called without mu when the last follower has left before the end, or a held window
}

// follower is one reader's place in a feed.
type follower struct {
	pos     int  // the chunk it wants
	waiting bool // it has nothing to read
	lagged  bool // it was left behind and must begin anew elsewhere
}

// newFeed returns a feed whose window, should it need one, grows in r.
func newFeed(first int, r *room, idle func(ended bool)) *feed {
	return &feed{
		first: first, next: first, changed: make(chan struct{}), readers: make(map[*follower]struct{}), idle: idle,
		chunks: windowLeast, room: &share{room: r},
	}
}

// newLingeringFeed returns one that cancel ends once nobody has followed it for lingerTime.
func newLingeringFeed(r *room, cancel func()) *feed {
	f := newFeed(0, r, nil)
	f.idle = func(ended bool) {
		if ended {
			return
		}
		joined, _ := f.deserted()
		time.AfterFunc(lingerTime, func() {
			if now, yes := f.deserted(); yes && now == joined {
				cancel()
			}
		})
	}
	return f
}

// begin makes chunk first the first one, before any was published.
func (f *feed) begin(first int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first, f.next = first, first
}

// wake tells all who wait; the caller holds mu.
func (f *feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// join adds a reader that wants chunk pos next. It is refused where the feed has ended or cannot serve pos any more.
func (f *feed) join(pos int) (*follower, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended && f.err != nil || pos < f.first {
		return nil, false
	}
	if f.window != nil && pos < f.next {
		if _, ok := f.window[pos]; !ok {
			return nil, false
		}
	}
	r := &follower{pos: pos}
	f.readers[r] = struct{}{}
	f.joined++
	return r, true
}

// followers is how many read the feed now.
func (f *feed) followers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.readers)
}

func (f *feed) leave(r *follower) {
	f.mu.Lock()
	_, was := f.readers[r]
	delete(f.readers, r)
	ended := f.ended
	last := was && len(f.readers) == 0 && (!ended || f.held)
	if was {
		f.wake()
	}
	if last {
		f.held = false
	}
	f.mu.Unlock()
	if last {
		f.idle(ended)
	}
}

// await blocks until chunk pos is published or can't be any more; it returns how far the feed has come. An error is that
// of ctx, of the feed, or errLagged.
func (f *feed) await(ctx context.Context, r *follower, pos int) (next int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.pos != pos {
		r.pos = pos
		if f.window != nil {
			f.wake()
		}
	}
	defer func() { r.waiting = false }()
	for {
		switch {
		case r.lagged:
			return f.next, errLagged
		case pos < f.next:
			return f.next, nil
		case f.ended:
			return f.next, f.err
		}
		if !r.waiting {
			r.waiting = true
			if f.window != nil {
				f.wake() // the producer may be waiting for a slower reader
			}
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if err := ctx.Err(); err != nil {
			return f.next, err
		}
	}
}

// copyWindow copies a published chunk out of the window.
func (f *feed) copyWindow(pos int, buf []byte) (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	chunk, ok := f.window[pos]
	return copy(buf, chunk), ok
}

// inWindow reports whether an unkept chunk can still be read.
func (f *feed) inWindow(pos int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.window[pos]
	return ok
}

// publish says that the chunk after the last one is kept where readers find it.
func (f *feed) publish() {
	f.mu.Lock()
	f.next++
	f.wake()
	f.mu.Unlock()
}

// publishUnkept publishes a chunk that only the window holds, once the readers that count have made room. It fails with
// errLagged when they don't.
func (f *feed) publishUnkept(ctx context.Context, chunk []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.window == nil {
		f.window = make(map[int][]byte, windowMost+1)
	}
	if err := f.makeRoom(ctx); err != nil {
		return err
	}
	oldest := f.next - f.chunks
	spare := f.window[oldest]
	delete(f.window, oldest)
	f.window[f.next] = append(spare[:0], chunk...)
	f.next++
	f.wake()
	return nil
}

// makeRoom has the window take one more chunk; the caller holds mu, which is not held while it waits.
func (f *feed) makeRoom(ctx context.Context) error {
	var stall *time.Timer
	var grace <-chan time.Time
	for f.behind(f.next - f.chunks) {
		if f.chunks < windowMost && f.room.tryGrow(blockSize) {
			f.chunks++
			continue
		}
		if stall == nil {
			stall = time.NewTimer(stallLimit)
			defer stall.Stop()
		}
		if grace == nil && f.starving() {
			timer := time.NewTimer(laggardGrace)
			defer timer.Stop()
			grace = timer.C
		}
		changed := f.changed
		f.mu.Unlock()
		late, stalled := false, false
		select {
		case <-changed:
		case <-grace:
			late = true
		case <-stall.C:
			stalled = f.needed == nil || f.needed()
			stall.Reset(stallLimit)
		case <-ctx.Done():
		}
		f.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
		if stalled {
			return errLagged
		}
		if late {
			f.eject(f.next - f.chunks)
		}
	}
	return nil
}

// behind reports whether a reader still wants a chunk up to oldest; the caller holds mu.
func (f *feed) behind(oldest int) bool {
	for r := range f.readers {
		if !r.lagged && r.pos <= oldest {
			return true
		}
	}
	return false
}

// starving reports whether a reader has nothing left to read; the caller holds mu.
func (f *feed) starving() bool {
	for r := range f.readers {
		if r.waiting && r.pos >= f.next {
			return true
		}
	}
	return false
}

// eject leaves the readers behind that still want a chunk up to oldest; the caller holds mu.
func (f *feed) eject(oldest int) {
	for r := range f.readers {
		if r.pos <= oldest {
			r.lagged = true
		}
	}
	f.wake()
}

// deserted reports whether nobody follows the feed, and how many have done so far.
func (f *feed) deserted() (joined int, yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.joined, len(f.readers) == 0
}

// move says that r wants no chunk before pos any more.
func (f *feed) move(r *follower, pos int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.pos < pos {
		r.pos = pos
		f.wake()
	}
}

// end says that nothing more comes; err is why, or nil when the feed is whole. It reports whether somebody follows a
// window that still serves: then idle is called when the last has left.
func (f *feed) end(err error) (held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.err = true, err
	f.held = err == nil && f.window != nil && len(f.readers) > 0
	f.wake()
	return f.held
}

// progress is how far the feed has come and whether it has ended.
func (f *feed) progress() (next int, ended bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next, f.ended, f.err
}

// errLagged tells a reader of an unkept feed that it was left behind; it begins anew and no caller sees it.
var errLagged = fault.New(fault.LocalOverload, "the reader was left behind")
