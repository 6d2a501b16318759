package access

import (
	"errors"
	"sync"
)

// Why a Quota gives no more.
var (
	ErrUserFull = errors.New("this user has as many as a user may have")
	ErrFull     = errors.New("all users together have as many as there may be")
)

// Quota counts who holds how many of something that is scarce, and gives no more than a number to each user and a number
// to all. Users who can't be told apart share one count. Root and the daemon's own user are counted as everybody: what
// runs wild is as often theirs.
//
// It holds memory for users who hold something, and for no others. Its methods are safe for concurrent use.
type Quota struct {
	mu    sync.Mutex // guards all below
	each  int
	all   int
	held  map[user]int
	total int
}

// user is what tells principals apart here.
type user struct {
	known bool
	uid   uint32
}

func userOf(p Principal) user {
	if !p.Known {
		return user{}
	}
	return user{known: true, uid: p.UID}
}

// NewQuota allows each user so many, and all together so many; 0 is no limit.
func NewQuota(each, all int) *Quota {
	return &Quota{each: each, all: all, held: map[user]int{}}
}

// SetLimits changes the limits of NewQuota. What is held stays, also where it is more than they allow.
func (q *Quota) SetLimits(each, all int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.each, q.all = each, all
}

// Limits are those in force.
func (q *Quota) Limits() (each, all int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.each, q.all
}

// Take gives p one more, which must be given back, or fails with ErrUserFull or ErrFull.
func (q *Quota) Take(p Principal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := userOf(p)
	switch {
	case q.each > 0 && q.held[u] >= q.each:
		return ErrUserFull
	case q.all > 0 && q.total >= q.all:
		return ErrFull
	}
	q.held[u]++
	q.total++
	return nil
}

// Give takes back one that Take gave to p.
func (q *Quota) Give(p Principal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := userOf(p)
	if q.held[u]--; q.held[u] == 0 {
		delete(q.held, u)
	}
	q.total--
}
