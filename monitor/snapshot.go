// Package monitor keeps what a person wants to see of a running daemon: how well each cache does now and over the last
// hour, what is under way, what went wrong lately, how each registry is. It hears of it through the observer interfaces
// that the rooms declare, beside metrics, and answers with a Snapshot or, as it happens, with a stream of events.
//
// All that it keeps is bounded, whatever clients ask for. It holds nobody up: an observer's call takes a short lock and
// never waits for a reader of events, who is told when he was too slow and how many he missed.
package monitor

import "time"

// Snapshot is how the daemon is at one moment. It shares nothing with the monitor.
type Snapshot struct {
	At      time.Time
	Started time.Time
	Version string
	PID     int
	Socket  string

	CacheDir string
	Bytes    int64 // on disk, all that counts against Limit
	Limit    int64
	DiskFree int64
	MinFree  int64
	Scanning bool     // the scan of the folders after a start goes on
	Problems []string // what is wrong now, a sentence each

	Caches     []Cache    // ref, manifest, index, content, block, memory
	Served     []Served   // memory, content, block, upstream
	Upstream   int64      // bytes that came from registries since the start
	History    []Sample   // the last hour, one a minute, oldest first; fewer after a start
	Flights    []Flight   // under way, oldest first; at most MaxFlights
	Registries []Registry // by name
	Errors     []Event    // lately, newest first; at most MaxErrors
	Artifacts  []Artifact // last used first; at most MaxArtifacts
	More       int        // artifacts beside those
}

// What a Snapshot holds at most: about what a person looks through.
const (
	MaxFlights   = 100
	MaxErrors    = 50
	MaxArtifacts = 200
)

// Cache is one of the caches, with the looks into it since the start.
type Cache struct {
	Name    string // as in metrics
	Dir     string // empty for memory
	Enabled bool
	Bytes   int64
	Limit   int64
	Entries int64
	Looks   Looks // since the start
	Recent  Looks // in the last five minutes
}

// Looks counts looks into a cache. What was neither hit nor miss (bypass, error) is in Other; a stale answer is in Hits.
type Looks struct {
	Hits, Misses, Other int64
}

// Ratio is the part of the looks that were hits, from 0 to 1; ok is false where there were none.
func (l Looks) Ratio() (ratio float64, ok bool) {
	if l.Hits+l.Misses == 0 {
		return 0, false
	}
	return float64(l.Hits) / float64(l.Hits+l.Misses), true
}

// Served is how many bytes callers got, since the start, and where from.
type Served struct {
	Source string // as in metrics
	Bytes  int64
}

// Sample is one minute.
type Sample struct {
	Start    time.Time
	Looks    map[string]Looks // by the name of the cache
	Served   int64            // bytes
	Upstream int64            // bytes
	Errors   int64
}

// Flight is one upstream fetch under way, and how many share it.
type Flight struct {
	Kind    string // "tag", "manifest", "index", "content", "blocks"
	What    string // the reference or digest that is fetched
	Since   time.Time
	Callers int
}

// Registry is how one registry is, as the daemon has seen it. Those not configured are together in "other".
type Registry struct {
	Name       string
	State      string // "ok", "failing", "unused" (not asked since the start)
	LastOK     time.Time
	LastError  time.Time
	Error      string // the last one's text; empty when none
	Requests   int64
	Bytes      int64
	RecentBad  int64 // requests that failed, in the last five minutes
	RecentGood int64
}

// Artifact is one that the cache knows.
type Artifact struct {
	Reference string // registry/repository@digest
	Tags      []string
	Type      string
	Files     int64
	Size      int64
	Cached    int64
	Pinned    bool
	LastUsed  time.Time
}

// Kind is what sort of thing happened.
type Kind string

// What can happen.
const (
	Pulled   Kind = "pull"             // an artifact was pulled; Reference, Source: upstream, checked (its tag), stale, cache, memory
	Evicted  Kind = "eviction"         // an entry left a cache; Cache, Reason, Bytes
	Corrupt  Kind = "corruption"       // an entry was found damaged; Cache
	Upstream Kind = "upstream_failure" // a registry failed; Registry, Reason
	Failed   Kind = "error"            // a call failed for a reason of ours; Reason
	Degraded Kind = "degraded"         // the disk began to refuse writes (Reason "refuses"), or takes them again ("works")
	Missed   Kind = "missed"           // a reader of events was too slow for Count of them
)

// Event is one thing that happened. Fields that its Kind does not name are empty.
type Event struct {
	At        time.Time
	Kind      Kind
	Reference string
	Cache     string
	Registry  string
	Reason    string
	Source    string
	Bytes     int64
	Count     int64  // how many alike this one stands for; at least 1
	Text      string // a sentence for people; without secrets
}
