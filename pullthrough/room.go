package pullthrough

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/blobd/blobd/internal/fault"
)

const (
	// patience is how long a caller waits for room. What has room gives it back as soon as it can go on, so a longer wait
	// means that somebody holds it who won't: better an answer then, and another try.
	patience = 30 * time.Second
	// smallShare is what finds room also while large ones have taken all that they may; smallReserve is kept for that.
	smallShare   = 1 << 20
	smallReserve = 8 << 20
	// quietTime is how long nothing is taken of a room, after much was, until the garbage that it left goes back to the
	// system. Go by itself takes minutes for that, and other processes of the host may want it.
	quietTime = 10 * time.Second
)

// room bounds the memory that several callers take together. Whoever fits goes first, so a large share, which may have to
// wait for much to be given back, holds no small one up.
type room struct {
	what  string // that it is for, as errors name it
	total int64

	mu      sync.Mutex // guards what follows
	free    int64
	waiting []*wish // in the order in which they came
	much    bool    // was taken since the last quiet time
	quiet   *time.Timer
}

// wish is a share that somebody waits for.
type wish struct {
	bytes   int64
	granted chan struct{} // closed when the share is taken
}

func newRoom(what string, total int64) *room {
	r := &room{what: what, total: total, free: total}
	r.quiet = time.AfterFunc(quietTime, r.tidy)
	r.quiet.Stop()
	return r
}

// tidy gives garbage back to the system, unless the room is in use again.
func (r *room) tidy() {
	r.mu.Lock()
	due := r.much && r.free == r.total
	if due {
		r.much = false
	}
	r.mu.Unlock()
	if due {
		debug.FreeOSMemory()
	}
}

// share is a part of a room that was taken. Its methods are safe for concurrent use.
type share struct {
	room  *room
	bytes int64 // guarded by room.mu
}

// take waits for a share of n bytes. One that is larger than it could ever be is as large as can be. It fails with
// fault.LocalOverload after patience, and with the error of ctx.
func (r *room) take(ctx context.Context, n int64) (*share, error) {
	if n > smallShare {
		n = min(n, r.total-smallReserve)
	}
	r.mu.Lock()
	if r.fits(n) {
		r.grant(n)
		r.mu.Unlock()
		return &share{r, n}, nil
	}
	w := &wish{bytes: n, granted: make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()

	limit := time.NewTimer(patience)
	defer limit.Stop()
	var err error
	select {
	case <-w.granted:
		return &share{r, n}, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		e := fault.New(fault.LocalOverload, "the %s that blobd has for %s are in use", humanize.IBytes(uint64(r.total)), r.what).
			Try("try again later, or give blobd more memory")
		e.RetryAfter = time.Second
		err = e
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-w.granted: // at the last moment
		r.giveBack(n)
	default:
		r.waiting = slices.DeleteFunc(r.waiting, func(o *wish) bool { return o == w })
	}
	return nil, err
}

// tryGrow makes s larger by n bytes if there is room for it that nobody waits for.
func (s *share) tryGrow(n int64) bool {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 || r.free-n < smallReserve {
		return false
	}
	r.grant(n)
	s.bytes += n
	return true
}

// shrink makes s n bytes large, if it is larger.
func (s *share) shrink(n int64) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if back := s.bytes - n; back > 0 {
		s.bytes = n
		s.room.giveBack(back)
	}
}

// release gives all of s back. A second call does nothing.
func (s *share) release() { s.shrink(0) }

// contended reports whether somebody waits.
func (r *room) contended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting) > 0
}

// fits reports whether n bytes are free; the caller holds mu.
func (r *room) fits(n int64) bool {
	if n > smallShare {
		return r.free-n >= smallReserve
	}
	return r.free >= n
}

// grant takes n bytes; the caller holds mu.
func (r *room) grant(n int64) {
	r.free -= n
	r.much = r.much || r.free < r.total/2
}

// giveBack frees n bytes and grants what fits now; the caller holds mu.
func (r *room) giveBack(n int64) {
	r.free += n
	r.waiting = slices.DeleteFunc(r.waiting, func(w *wish) bool {
		if !r.fits(w.bytes) {
			return false
		}
		r.grant(w.bytes)
		close(w.granted)
		return true
	})
	if r.much && r.free == r.total {
		r.quiet.Reset(quietTime)
	}
}
