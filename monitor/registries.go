package monitor

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// otherRegistry stands for all that are not configured.
const otherRegistry = "other"

// States of a Registry.
const (
	stateOK      = "ok"
	stateFailing = "failing"
	stateUnused  = "unused"
)

// registry is what was seen of one.
type registry struct {
	requests, bytes atomic.Int64
	good, bad       atomic.Int64 // requests that were answered, and that failed
	lastOK          atomic.Int64 // UnixNano; 0: never

	mu        sync.Mutex // guards what follows
	lastError time.Time
	outage    time.Time // the last error that says that the registry can't be had
	err       string

	// marks are good and bad when each of the last minutes began, the newest first; guarded by Monitor.mu.
	marks [recentMinutes]struct{ good, bad int64 }
}

// SetRegistries names the registries that are told apart. Those that stay keep what was seen of them.
func (m *Monitor) SetRegistries(hosts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.registries.Load()
	now := make(map[string]*registry, len(hosts)+1)
	for _, name := range append(slices.Clone(hosts), otherRegistry) {
		r := new(registry)
		if old != nil && (*old)[name] != nil {
			r = (*old)[name]
		}
		now[name] = r
	}
	if old != nil { // bytes are counted for all together too, and must not shrink
		for name, r := range *old {
			if now[name] == nil {
				now[otherRegistry].bytes.Add(r.bytes.Load())
			}
		}
	}
	m.registries.Store(&now)
}

// registryOf is the registry of a host, and the name that it goes by.
func (m *Monitor) registryOf(host string) (*registry, string) {
	all := *m.registries.Load()
	if r := all[host]; r != nil {
		return r, host
	}
	return all[otherRegistry], otherRegistry
}

// UpstreamRequest counts one request. What is answered is no failure, a 404 neither; what fails is told to UpstreamFailed.
func (m *Monitor) UpstreamRequest(host, kind, code string, _ float64) {
	r, _ := m.registryOf(host)
	r.requests.Add(1)
	if kind == "token" { // another server answers those, often
		return
	}
	switch code {
	case "2xx", "3xx", "404":
		r.good.Add(1)
		r.lastOK.Store(m.now().UnixNano())
	}
}

// UpstreamBytes counts n bytes of bodies.
func (m *Monitor) UpstreamBytes(host string, n int64) {
	r, _ := m.registryOf(host)
	r.bytes.Add(n)
}

// UpstreamFailed is told of a request that failed, and why. One that the registry refused to this caller, or that was
// answered with what blobd refuses, is a failure too, but no outage.
func (m *Monitor) UpstreamFailed(host, reason, text string) {
	r, name := m.registryOf(host)
	r.bad.Add(1)
	now := m.now()
	r.mu.Lock()
	r.lastError, r.err = now, tidy(text)
	if outage(reason) {
		r.outage = now
	}
	r.mu.Unlock()
	m.events.note(Event{Kind: Upstream, Registry: name, Reason: reason, Count: 1, Text: text})
}

// outage reports whether a registry that fails for this reason can't be had by anybody.
func outage(reason string) bool {
	switch fault.Reason(reason) {
	case fault.UpstreamUnreachable, fault.UpstreamDNS, fault.UpstreamTLS, fault.Upstream5xx, fault.UpstreamTimeout,
		fault.UpstreamSlow, fault.UpstreamRateLimit, fault.AuthServer:
		return true
	}
	return false
}

// turn begins so many minutes; the caller holds Monitor.mu.
func (r *registry) turn(minutes int) {
	for range min(minutes, recentMinutes) {
		copy(r.marks[1:], r.marks[:recentMinutes-1])
		r.marks[0].good, r.marks[0].bad = r.good.Load(), r.bad.Load()
	}
}

// registryList describes all; the caller holds mu.
func (m *Monitor) registryList() []Registry {
	all := *m.registries.Load()
	out := make([]Registry, 0, len(all))
	for _, name := range slices.SortedFunc(maps.Keys(all), byName) {
		out = append(out, all[name].describe(name))
	}
	return out
}

// byName sorts "other" behind all others.
func byName(a, b string) int {
	if last := cmp.Compare(boolInt(a == otherRegistry), boolInt(b == otherRegistry)); last != 0 {
		return last
	}
	return cmp.Compare(a, b)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *registry) describe(name string) Registry {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := r.marks[recentMinutes-1]
	out := Registry{
		Name: name, State: stateOK, LastError: r.lastError, Error: r.err, Requests: r.requests.Load(), Bytes: r.bytes.Load(),
		RecentGood: r.good.Load() - oldest.good, RecentBad: r.bad.Load() - oldest.bad,
	}
	if nano := r.lastOK.Load(); nano != 0 {
		out.LastOK = time.Unix(0, nano)
	}
	down := r.outage.After(out.LastOK) || out.RecentBad > 0 && out.RecentGood == 0
	if name == otherRegistry { // what one host does says nothing of the next one
		down = r.outage.After(out.LastOK) && out.RecentBad > 0
	}
	switch {
	case down:
		out.State = stateFailing
	case out.Requests == 0:
		out.State = stateUnused
	}
	return out
}
