// Package metrics is what blobd tells Prometheus, and the HTTP handler that tells it.
//
// It promises:
//   - Every set of labels exists, at zero, from the start; none is learned at run time. A registry that the
//     configuration does not name is counted as "other".
//   - Names and labels are a contract: see the list in the README, which dashboards and alerts are written against.
//   - Counting never blocks: the methods are safe from any number of goroutines, and take no lock for long.
//
// Metrics implements the observers of the other rooms by plain methods. A word outside the contract (a cache, a result,
// a reason that is not in the lists here) is not counted.
package metrics

import (
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// The values of labels.
var (
	caches  = [...]string{"ref", "manifest", "index", "content", "block", "memory"}
	results = [...]string{"hit", "miss", "stale", "negative", "bypass", "error"}
	reasons = [...]string{"size", "min_free", "ttl", "corrupt", "removed"}
	kinds   = [...]string{"tag", "manifest", "blob", "range", "token"}
	codes   = [...]string{"2xx", "3xx", "401", "403", "404", "429", "4xx", "5xx", "error"}
	sources = [...]string{"memory", "content", "block", "upstream"}
)

// other stands for every registry that is not configured.
const other = "other"

// latencies reach from a registry next door (5 ms) to the longest a metadata request may take; blobs have no such limit
// and may end above the last.
var latencies = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// Options are what is known before anything is counted.
type Options struct {
	Registries        []string // configured hosts
	Version, Revision string   // of this build
}

// Metrics are blobd's collectors in a registry of their own.
type Metrics struct {
	registry *prometheus.Registry
	known    atomic.Pointer[[]string] // configured registries
	usage    *usageCollector

	cacheRequests, evictions, evictedBytes, corruptions *prometheus.CounterVec
	degraded                                            prometheus.Gauge
	upstreamRequests, upstreamBytes                     *prometheus.CounterVec
	upstreamSeconds                                     prometheus.Histogram
	servedBytes                                         *prometheus.CounterVec
	flights                                             prometheus.Gauge
	flightJoins                                         prometheus.Counter
	connections                                         prometheus.Gauge
	connectionsRefused                                  prometheus.Counter
}

// New returns metrics at zero.
func New(o Options) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), usage: newUsageCollector()}
	m.cacheRequests = m.counters("cache_requests_total", "Looks into a cache, by what came of them.", "cache", "result")
	m.evictions = m.counters("cache_evictions_total", "Entries that left a cache, by the reason.", "cache", "reason")
	m.evictedBytes = m.counters("cache_evicted_bytes_total", "Bytes on disk that evictions gave back.", "cache")
	m.corruptions = m.counters("cache_corruptions_total", "Entries found damaged on disk, removed and fetched again.", "cache")
	m.degraded = m.gauge("cache_degraded", "1 while the disk refuses to store and reads go upstream, else 0.")
	m.upstreamRequests = m.counters("upstream_requests_total",
		"Requests to registries, mirrors and token servers, by kind and status.", "registry", "kind", "code")
	m.upstreamBytes = m.counters("upstream_bytes_total", "Bytes of bodies received from upstream.", "registry")
	m.upstreamSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "blobd", Name: "upstream_request_seconds", Buckets: latencies,
		Help: "Time from an upstream request to the headers of its answer.",
	})
	m.servedBytes = m.counters("served_bytes_total", "Bytes of files handed to callers, by where they came from.", "source")
	m.flights = m.gauge("flights", "Upstream fetches under way.")
	m.flightJoins = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "blobd", Name: "flight_joins_total", Help: "Callers that joined a fetch under way instead of starting one.",
	})
	m.connections = m.gauge("connections", "Connections to the socket that are open and within the limits.")
	m.connectionsRefused = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "blobd", Name: "connections_refused_total", Help: "Connections to the socket that were one too many.",
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "blobd", Name: "build_info", Help: "Always 1; the labels name the build.",
		ConstLabels: prometheus.Labels{"version": o.Version, "revision": o.Revision, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.usage, m.upstreamSeconds, m.flightJoins, m.connectionsRefused, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.zero()
	m.SetRegistries(o.Registries)
	return m
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "blobd", Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "blobd", Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}

// zero makes every set of labels but the registries'.
func (m *Metrics) zero() {
	for _, c := range caches {
		for _, r := range results {
			m.cacheRequests.WithLabelValues(c, r)
		}
		for _, r := range reasons {
			m.evictions.WithLabelValues(c, r)
		}
		m.evictedBytes.WithLabelValues(c)
		m.corruptions.WithLabelValues(c)
	}
	for _, s := range sources {
		m.servedBytes.WithLabelValues(s)
	}
}

// SetRegistries names the configured registries anew. Those that are no longer configured keep what was counted, and
// count as "other" from now on.
func (m *Metrics) SetRegistries(hosts []string) {
	hosts = slices.Clone(hosts)
	for _, h := range append([]string{other}, hosts...) {
		m.upstreamBytes.WithLabelValues(h)
		for _, k := range kinds {
			for _, c := range codes {
				m.upstreamRequests.WithLabelValues(h, k, c)
			}
		}
	}
	m.known.Store(&hosts)
}

func (m *Metrics) registryLabel(host string) string {
	if slices.Contains(*m.known.Load(), host) {
		return host
	}
	return other
}

// Registerer takes collectors of libraries (the gRPC middleware's).
func (m *Metrics) Registerer() prometheus.Registerer { return m.registry }

// Gatherer reads everything.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// CacheRequest counts a look into a cache.
func (m *Metrics) CacheRequest(cache, result string) {
	if slices.Contains(caches[:], cache) && slices.Contains(results[:], result) {
		m.cacheRequests.WithLabelValues(cache, result).Inc()
	}
}

// Served counts n bytes of files handed to callers.
func (m *Metrics) Served(source string, n int64) {
	if slices.Contains(sources[:], source) {
		m.servedBytes.WithLabelValues(source).Add(float64(n))
	}
}

// FlightStarted counts an upstream fetch that began.
func (m *Metrics) FlightStarted() { m.flights.Inc() }

// FlightEnded counts an upstream fetch that ended.
func (m *Metrics) FlightEnded() { m.flights.Dec() }

// FlightJoined counts a caller that joined a fetch under way.
func (m *Metrics) FlightJoined() { m.flightJoins.Inc() }

// ConnectionOpened counts a connection to the socket.
func (m *Metrics) ConnectionOpened() { m.connections.Inc() }

// ConnectionClosed counts its end.
func (m *Metrics) ConnectionClosed() { m.connections.Dec() }

// ConnectionRefused counts one that a limit did not allow.
func (m *Metrics) ConnectionRefused() { m.connectionsRefused.Inc() }

// Evicted counts an entry that left a store's class, and the bytes that this gave back.
func (m *Metrics) Evicted(class, reason string, bytes int64) {
	if cache := cacheOf(class); cache != "" && slices.Contains(reasons[:], reason) {
		m.evictions.WithLabelValues(cache, reason).Inc()
		m.evictedBytes.WithLabelValues(cache).Add(float64(bytes))
	}
}

// Corrupted counts an entry of a store's class that was found damaged.
func (m *Metrics) Corrupted(class string) {
	if cache := cacheOf(class); cache != "" {
		m.corruptions.WithLabelValues(cache).Inc()
	}
}

// Problem says that the disk refuses something, or, with nil, that it no longer does.
func (m *Metrics) Problem(err error) {
	m.degraded.Set(0)
	if err != nil {
		m.degraded.Set(1)
	}
}

// UpstreamRequest counts one request and its time. The code is an HTTP status ("200"), a class of them ("2xx"), or
// anything else for a request without an answer.
func (m *Metrics) UpstreamRequest(registry, kind, code string, seconds float64) {
	if slices.Contains(kinds[:], kind) {
		m.upstreamRequests.WithLabelValues(m.registryLabel(registry), kind, codeLabel(code)).Inc()
		m.upstreamSeconds.Observe(seconds)
	}
}

// UpstreamBytes counts n bytes of bodies.
func (m *Metrics) UpstreamBytes(registry string, n int64) {
	m.upstreamBytes.WithLabelValues(m.registryLabel(registry)).Add(float64(n))
}

// codeLabel is the most exact of codes that fits.
func codeLabel(code string) string {
	if slices.Contains(codes[:], code) {
		return code
	}
	if len(code) == 3 && strings.Contains("2345", code[:1]) {
		return code[:1] + "xx"
	}
	return "error"
}

// cacheOf is the cache that a store's class stands for: classes are called as their folders, in the plural.
func cacheOf(class string) string {
	switch class {
	case "refs", "manifests", "blocks":
		return class[:len(class)-1]
	case "indexes":
		return "index"
	case "content":
		return class
	}
	return ""
}
