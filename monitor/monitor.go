package monitor

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The names that counts are kept by, as in metrics. Whatever else an observer is told is not counted.
var (
	caches  = [...]string{"ref", "manifest", "index", "content", "block", "memory"}
	sources = [...]string{"memory", "content", "block", "upstream"}
)

// Options is what a Monitor is told once.
type Options struct {
	Started    time.Time
	Version    string
	PID        int
	Socket     string
	CacheDir   string
	Registries []string         // hosts that are told apart; all others are "other"
	Now        func() time.Time // nil: time.Now; it may jump
}

// Sources are asked whenever somebody looks.
type Sources struct {
	Usage   func() Usage
	Flights func() []Flight
	// Artifacts lists those last used, that one first, at most so many, and says how many more there are. A list that ctx
	// cut short is not kept.
	Artifacts func(ctx context.Context, most int) (list []Artifact, more int)
}

// Usage is how full the disk and the caches are. The looks into the caches are the monitor's to fill in.
type Usage struct {
	Bytes, Limit, DiskFree, MinFree int64
	Scanning                        bool
	Problems                        []string
	Caches                          []Cache
}

// Monitor is told by observers, and answers whoever looks. Its methods are safe for concurrent use.
type Monitor struct {
	options Options
	now     func() time.Time
	sources atomic.Pointer[Sources]

	looks  [len(caches)][looksKinds]atomic.Int64
	served [len(sources)]atomic.Int64

	registries atomic.Pointer[map[string]*registry] // by name; "other" too

	mu      sync.Mutex // guards history, and the windows of the registries
	history history
	minute  *time.Timer // turns history when nobody looks

	events    *events
	artifacts *artifactList
}

// New makes a Monitor, which is to be closed.
func New(o Options) *Monitor {
	m := &Monitor{options: o, now: o.Now, artifacts: newArtifactList()}
	if m.now == nil {
		m.now = time.Now
	}
	m.events = newEvents(m.now)
	m.SetRegistries(o.Registries)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	m.minute = time.AfterFunc(untilNext(m.now()), m.everyMinute)
	return m
}

// Watch gives what is to be asked, once there is something. Before, a Snapshot has no usage, flights and artifacts.
func (m *Monitor) Watch(s Sources) { m.sources.Store(&s) }

// Close stops what runs behind. Observers may still call.
func (m *Monitor) Close() {
	m.mu.Lock()
	if m.minute != nil {
		m.minute.Stop()
		m.minute = nil
	}
	m.mu.Unlock()
	m.events.close()
}

// everyMinute begins a new minute, so that each counts what fell into it though nobody looks.
func (m *Monitor) everyMinute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	if m.minute != nil {
		m.minute.Reset(untilNext(m.now()))
	}
}

// untilNext is the time to the next full minute.
func untilNext(now time.Time) time.Duration {
	return now.Truncate(time.Minute).Add(time.Minute).Sub(now)
}

// turn takes history and the registries' windows to now; the caller holds mu.
func (m *Monitor) turn() {
	passed := m.history.turn(m.now(), m.totals())
	for _, r := range *m.registries.Load() {
		r.turn(passed)
	}
}

// totals are the counts since the start.
func (m *Monitor) totals() totals {
	t := totals{errors: m.events.failures.Load()}
	for i := range caches {
		t.looks[i] = Looks{Hits: m.looks[i][hit].Load(), Misses: m.looks[i][miss].Load(), Other: m.looks[i][other].Load()}
	}
	for i := range sources {
		t.served += m.served[i].Load()
	}
	for _, r := range *m.registries.Load() {
		t.upstream += r.bytes.Load()
	}
	return t
}

// Snapshot tells how the daemon is now. What takes long, the list of artifacts, is some seconds old at times; ctx bounds
// the wait for it.
func (m *Monitor) Snapshot(ctx context.Context) Snapshot {
	s := m.Brief()
	if from := m.sources.Load(); from != nil {
		s.Artifacts, s.More = m.artifacts.get(ctx, from.Artifacts)
	}
	return s
}

// Brief is a Snapshot without the artifacts, which takes no time.
func (m *Monitor) Brief() Snapshot {
	s := Snapshot{
		At: m.now(), Started: m.options.Started, Version: m.options.Version, PID: m.options.PID,
		Socket: m.options.Socket, CacheDir: m.options.CacheDir, Errors: m.events.errors(),
	}
	var usage Usage
	if from := m.sources.Load(); from != nil {
		usage = from.Usage()
		s.Flights = from.Flights()
		s.Flights = s.Flights[:min(len(s.Flights), MaxFlights)]
	}
	s.Bytes, s.Limit, s.DiskFree, s.MinFree = usage.Bytes, usage.Limit, usage.DiskFree, usage.MinFree
	s.Scanning, s.Problems = usage.Scanning, usage.Problems
	for i, source := range sources {
		s.Served = append(s.Served, Served{Source: source, Bytes: m.served[i].Load()})
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	now := m.totals()
	s.Upstream = now.upstream
	s.History = m.history.samples(now)
	recent := m.history.recent(now)
	for i, name := range caches {
		c := Cache{Name: name}
		if at := slices.IndexFunc(usage.Caches, func(c Cache) bool { return c.Name == name }); at >= 0 {
			c = usage.Caches[at]
		}
		c.Looks, c.Recent = now.looks[i], recent[i]
		s.Caches = append(s.Caches, c)
	}
	s.Registries = m.registryList()
	return s
}
