package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Settings that stay. They are short, so that a run meets their ends often.
const (
	maxStale     = 15 * time.Second
	grant        = 10 * time.Second
	negativeTTL  = time.Second
	idleTimeout  = 5 * time.Second
	drainTimeout = 4 * time.Second

	// settling is how long the daemon may take to do by a new configuration: to read it, and to evict what is too much.
	settling = 10 * time.Second

	forEver = 1000 * time.Hour
)

// limits are the settings that change while the daemon runs.
type limits struct {
	maxSize, minFree, memory int64
	ttl                      time.Duration
}

// settings remembers what was in force when. Its methods may be called from several goroutines.
type settings struct {
	host string // of the registry
	file string // of logins

	mu    sync.Mutex // guards what follows
	since []setting
}

type setting struct {
	limits
	from time.Time
}

const mib = 1 << 20

// someLimits are those of a small cache, so that much is evicted.
func someLimits(rng *rand.Rand) limits {
	return limits{
		maxSize: []int64{12 * mib, 20 * mib, 32 * mib}[rng.IntN(3)],
		minFree: mib,
		memory:  []int64{0, mib, 8 * mib}[rng.IntN(3)],
		ttl:     []time.Duration{300 * time.Millisecond, 2 * time.Second, 5 * time.Second}[rng.IntN(3)],
	}
}

// force notes that l is in force from now on, at the latest after settling.
func (s *settings) force(l limits, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = append(s.since, setting{l, now})
}

func (s *settings) now() limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since[len(s.since)-1].limits
}

// most is the largest that f was of what may have been in force at some moment of a time.
func (s *settings) most(f func(limits) int64, from, to time.Time) (most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range s.since {
		if one.from.After(to) || i+1 < len(s.since) && s.since[i+1].from.Add(settling).Before(from) {
			continue
		}
		most = max(most, f(one.limits))
	}
	return most
}

// ttl is the longest that was in force for a tag.
func (s *settings) ttl(tag string, from, to time.Time) time.Duration {
	switch tag {
	case tags[fixedTag]:
		return forEver
	case tags[alwaysTag]:
		return 0
	}
	return time.Duration(s.most(func(l limits) int64 { return int64(l.ttl) }, from, to))
}

// text is the configuration file for l; rng decides on what only a start takes over.
func (s *settings) text(l limits, rng *rand.Rand) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("max_size: %d", l.maxSize)
	line("min_free: %d", l.minFree)
	line("caches: {memory: {size: %d}}", l.memory)
	line("verify: %s", []string{"open", "open", "open", "always"}[rng.IntN(4)])
	line("durability: %s", []string{"metadata", "full"}[rng.IntN(2)])
	line("ttl:")
	line("  default: %s", l.ttl)
	line("  rules:")
	line("    - {match: '%s/*/*:%s', ttl: 0}", s.host, tags[fixedTag])
	line("    - {match: '%s/*/*:%s', ttl: always}", s.host, tags[alwaysTag])
	line("max_stale: %s", maxStale)
	line("grant: %s", grant)
	line("negative_ttl: %s", negativeTTL)
	line("idle_timeout: %s", idleTimeout)
	line("drain_timeout: %s", drainTimeout)
	line("registries: {'%s': {credential: robot}}", s.host)
	line("credentials: {file: '%s', spin: false, docker: false}", s.file)
	return b.String()
}
