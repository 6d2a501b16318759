package server

import (
	"sync"
	"time"
)

// tick is how often a stream of progress says something: often enough for a bar to move, seldom enough to cost nothing.
const tick = 100 * time.Millisecond

// ticker sends what was updated, at most once a tick. A caller who does not read holds up the work that he asked for,
// and nobody else's.
type ticker struct {
	send func() error // sends what the updates made

	mu   sync.Mutex // guards last and err, and everything that updates change
	last time.Time
	err  error
}

// update makes a change and sends it when a tick has passed since the last. It may be called by several goroutines. Once
// a send has failed the caller is gone, which the work hears of by its context, and nothing is sent any more.
func (t *ticker) update(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	if t.err != nil || time.Since(t.last) < tick {
		return
	}
	t.err = t.send()
	t.last = time.Now()
}
