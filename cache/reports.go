package cache

import (
	"errors"
	"sync"

	"github.com/blobd/blobd/cache/store"
)

// reports passes on to one observer, which may be nil, what the store and the catalogue tell. A disk may refuse either
// while the other goes on, so the observer hears of both problems as one, and that it has ended when both have.
type reports struct {
	to store.Observer

	mu       sync.Mutex // guards what follows, and keeps the observer's news in order
	problems [2]error   // the store's, the catalogue's
}

func (r *reports) Evicted(class, reason string, bytes int64) {
	if r.to != nil {
		r.to.Evicted(class, reason, bytes)
	}
}

func (r *reports) Corrupted(class string) {
	if r.to != nil {
		r.to.Corrupted(class)
	}
}

// Problem hears from the store.
func (r *reports) Problem(err error) { r.problem(0, err) }

// catalogue hears from the catalogue.
func (r *reports) catalogue(err error) { r.problem(1, err) }

func (r *reports) problem(who int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.problems[who] == nil {
		return
	}
	r.problems[who] = err
	if r.to != nil {
		r.to.Problem(errors.Join(r.problems[:]...))
	}
}

// current returns what the disk refuses now.
func (r *reports) current() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.problems[:]...)
}
