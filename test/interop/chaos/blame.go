package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
)

// cause is something that chaos does to the daemon's world, and that calls may rightly fail of.
type cause string

// Causes. Those of upstream strike a repository, request by request; the others all calls, for a time.
const (
	refused   cause = "status 4xx" // 401, 403
	absent    cause = "status 404"
	throttled cause = "status 429"
	broken    cause = "status 5xx"
	teapot    cause = "odd status"
	cut       cause = "cut body"
	reset     cause = "reset"
	wrongByte cause = "wrong byte"
	longer    cause = "wrong length"
	badRange  cause = "other range"
	page      cause = "web page"
	loop      cause = "redirect loop"
	stall     cause = "stall"
	trickle   cause = "trickle"
	late      cause = "late answer"
	noRange   cause = "no ranges"
	noLogin   cause = "token server"

	regDown    cause = "registry stopped"
	daemonDown cause = "daemon down"
)

// What is counted, and explains no failure by itself: a daemon must not let its callers feel it.
const (
	killed    cause = "kill -9"
	stopped   cause = "SIGTERM"
	reloaded  cause = "SIGHUP"
	noSpace   cause = "no space"
	noInodes  cause = "no inodes"
	noFree    cause = "min_free too large"
	noSize    cause = "max_size too small"
	flipped   cause = "bit flipped on disk"
	truncated cause = "file cut on disk"
	rewritten cause = "file rewritten on disk"
	deleted   cause = "file deleted on disk"
	moved     cause = "tag moved"
)

// causesOf says which causes a reason may have. What is not here is always wrong: INTERNAL above all.
var causesOf = map[fault.Reason][]cause{
	fault.UpstreamUnreachable:  {regDown, reset, cut},
	fault.Upstream5xx:          {broken},
	fault.UpstreamRateLimit:    {throttled},
	fault.UpstreamTimeout:      {stall, trickle, regDown},
	fault.UpstreamSlow:         {stall, trickle},
	fault.UpstreamProtocol:     {teapot, page},
	fault.UpstreamForbidden:    {refused, noLogin},
	fault.UpstreamUnauthorized: {refused, noLogin},
	fault.AuthServer:           {noLogin, regDown, reset, stall},
	fault.RedirectLoop:         {loop},
	fault.Truncated:            {cut, reset, regDown},
	fault.SizeMismatch:         {longer, page},
	fault.DigestMismatch:       {wrongByte, longer, page}, // a manifest has no size to be wrong
	fault.BadRange:             {badRange},
	fault.MediaType:            {page},
	fault.ManifestUnknown:      {absent},
	fault.BlobUnknown:          {absent},
	fault.Starting:             {daemonDown},
	fault.ShuttingDown:         {daemonDown},
	client.DaemonUnreachable:   {daemonDown},
}

// echo is how long after its cause a failure may come: a breaker tells the last failure for up to 30 s, and a stalled
// request is given up after 15 or 20 s.
const echo = time.Minute

// blame notes when what was done, and to whom. Its methods may be called from several goroutines.
type blame struct {
	mu      sync.Mutex // guards what follows
	strikes map[strike][]time.Time
	times   map[cause][]interval
	counts  map[cause]int
}

type strike struct {
	cause      cause
	repository string
}

type interval struct{ from, to time.Time } // to is zero while it lasts

func newBlame() *blame {
	return &blame{strikes: map[strike][]time.Time{}, times: map[cause][]interval{}, counts: map[cause]int{}}
}

// struck notes that a request of a repository met a cause.
func (b *blame) struck(c cause, repository string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[c]++
	key := strike{c, repository}
	b.strikes[key] = append(b.strikes[key], now)
}

// begins notes that a cause acts on all from now on; ends, that it no longer does.
func (b *blame) begins(c cause, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[c]++
	b.times[c] = append(b.times[c], interval{from: now})
}

func (b *blame) ends(c cause, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if times := b.times[c]; len(times) > 0 {
		times[len(times)-1].to = now
	}
}

// counted notes that something was done.
func (b *blame) counted(c cause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[c]++
}

// count is how often any of the causes was.
func (b *blame) count(of ...cause) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range of {
		n += b.counts[c]
	}
	return n
}

// all is how often each cause was, in words.
func (b *blame) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, c := range slices.Sorted(maps.Keys(b.counts)) {
		out = append(out, fmt.Sprintf("%s %d", c, b.counts[c]))
	}
	return strings.Join(out, ", ")
}

// acted reports whether a cause acted on a repository at some moment of a time.
func (b *blame) acted(c cause, repository string, from, to time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range slices.Backward(b.strikes[strike{c, repository}]) {
		if t.Before(from) {
			break
		}
		if !t.After(to) {
			return true
		}
	}
	return slices.ContainsFunc(b.times[c], func(i interval) bool {
		return !i.from.After(to) && (i.to.IsZero() || !i.to.Before(from))
	})
}

// staleFor are the causes for which the last known digest may stand in.
var staleFor = []cause{regDown, reset, cut, broken, throttled, stall, trickle, late, page, noLogin}

// excusesStale reports whether a repository could perhaps not be asked.
func (b *blame) excusesStale(repository string, began, ended time.Time) bool {
	return slices.ContainsFunc(staleFor, func(c cause) bool { return b.acted(c, repository, began.Add(-echo), ended) })
}

// explains reports whether a call about a repository may have failed with a reason.
func (b *blame) explains(r fault.Reason, repository string, began, ended time.Time) bool {
	return slices.ContainsFunc(causesOf[r], func(c cause) bool { return b.acted(c, repository, began.Add(-echo), ended) })
}
