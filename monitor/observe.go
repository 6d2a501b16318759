package monitor

import "slices"

// What a look into a cache can be, for the person who looks.
const (
	hit = iota
	miss
	other
	looksKinds
)

// CacheRequest counts a look into a cache. An answer that is stale or negative comes from the cache too.
func (m *Monitor) CacheRequest(cache, result string) {
	i := slices.Index(caches[:], cache)
	if i < 0 {
		return
	}
	switch result {
	case "hit", "stale", "negative":
		m.looks[i][hit].Add(1)
	case "miss":
		m.looks[i][miss].Add(1)
	default:
		m.looks[i][other].Add(1)
	}
}

// Served counts n bytes of files handed to callers.
func (m *Monitor) Served(source string, n int64) {
	if i := slices.Index(sources[:], source); i >= 0 {
		m.served[i].Add(n)
	}
}

// Pulled is told of an artifact that was pulled, and where from.
func (m *Monitor) Pulled(reference, source string) {
	m.events.note(Event{Kind: Pulled, Reference: reference, Source: source, Count: 1})
}

// CallFailed is told of a call that failed for a reason of ours.
func (m *Monitor) CallFailed(reason, text string) {
	m.events.note(Event{Kind: Failed, Reason: reason, Count: 1, Text: text})
}

// Evicted is told of an entry that left a cache, and of the bytes that this gave back.
func (m *Monitor) Evicted(cache, reason string, bytes int64) {
	m.events.note(Event{Kind: Evicted, Cache: cache, Reason: reason, Bytes: bytes, Count: 1})
}

// Corrupted is told of an entry that was found damaged.
func (m *Monitor) Corrupted(cache string) {
	m.events.note(Event{Kind: Corrupt, Cache: cache, Count: 1})
}

// Degraded is told that the disk began to refuse writes, or, with nil, that it takes them again.
func (m *Monitor) Degraded(err error) {
	e := Event{Kind: Degraded, Reason: reasonWorks, Count: 1, Text: "the disk takes writes again"}
	if err != nil {
		e.Reason, e.Text = reasonRefuses, "the disk refuses writes: "+err.Error()
	}
	m.events.note(e)
}

// Reasons of Degraded.
const (
	reasonRefuses = "refuses"
	reasonWorks   = "works"
)
