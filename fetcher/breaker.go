package fetcher

import (
	"sync"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// breaker keeps callers from a repository that has just failed for somebody else. After a failed call it refuses
// all for a while that doubles with each failure; then it lets one try, and the others once that has worked.
type breaker struct {
	least, most time.Duration

	mu      sync.Mutex // guards what follows
	failed  time.Time
	wait    time.Duration // from then on
	pause   time.Duration // the last one that doubled
	last    *fault.Error
	probing bool
}

// allow returns nil when the caller may try, who then owes a call of done; else the failure that is still fresh. One that
// lies ahead is not: the clock was set back, and nobody knows for how long the host has been left alone.
func (b *breaker) allow(now time.Time) *fault.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		return nil
	}
	since := now.Sub(b.failed)
	fresh := since >= 0 && since < b.wait
	if !fresh && !b.probing {
		b.probing = true
		return nil
	}
	again := *b.last
	again.RetryAfter = b.least
	if fresh {
		again.RetryAfter = max(b.wait-since, b.least)
	}
	return &again
}

// done tells how a call went. Only failures of the host count; what it refuses, it has at least answered. A caller that
// gave up says nothing about the host.
func (b *breaker) done(now time.Time, err *fault.Error, gaveUp bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch {
	case gaveUp:
	case err == nil || !opensBreaker(err.Reason):
		b.last, b.pause = nil, 0
	case err.Reason == fault.UpstreamRateLimit:
		b.last, b.failed, b.wait = err, now, err.RetryAfter // the registry has said for how long
	default:
		b.pause = min(max(2*b.pause, b.least), b.most)
		b.last, b.failed, b.wait = err, now, b.pause
		err.RetryAfter = b.pause
	}
}

func opensBreaker(r fault.Reason) bool {
	switch r {
	case fault.UpstreamUnreachable, fault.UpstreamDNS, fault.Upstream5xx, fault.UpstreamTimeout, fault.UpstreamSlow,
		fault.UpstreamRateLimit, fault.AuthServer:
		return true
	}
	return false
}
