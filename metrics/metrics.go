// Package metrics is what blobd tells Prometheus, and the HTTP handler that tells it.
//
// It promises:
//   - Every set of labels exists, at zero, from the start; none is learned at run time. A registry that the
//     configuration does not name is counted as "other".
//   - Names and labels are a contract: docs/metrics.md is made from them, and dashboards and alerts are written against them.
//   - Each help text says what is counted and in which unit, and what a reader makes of it.
//   - Counting never blocks: the methods are safe from any number of goroutines, and take no lock for long.
//
// Metrics implements the observers of the other rooms by plain methods. A word outside the contract (a cache, a result,
// a reason that is not in the lists here) is not counted.
package metrics

import (
	"runtime"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

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
	checks   atomic.Pointer[[]Check] // of readiness

	cacheRequests, evictions, evictedBytes, corruptions *prometheus.CounterVec
	degraded, reloaded                                  prometheus.Gauge
	upstreamRequests, upstreamBytes                     *prometheus.CounterVec
	upstreamSeconds                                     prometheus.Histogram
	servedBytes                                         *prometheus.CounterVec
	staleAnswers                                        prometheus.Counter
	flights                                             prometheus.Gauge
	flightJoins                                         prometheus.Counter
	connections                                         prometheus.Gauge
	connectionsRefused                                  prometheus.Counter
}

// New returns metrics at zero.
func New(o Options) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), usage: newUsageCollector()}
	m.registry.MustRegister(m.usage,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.makeCaches()
	m.makeUpstream()
	m.makeDaemon(o)
	m.zero()
	m.SetRegistries(o.Registries)
	return m
}

func (m *Metrics) makeCaches() {
	m.cacheRequests = m.counters("cache_requests_total", "Looks into a cache, by what came of them: hit and miss; stale is a "+
		"tag whose time to live was over, negative a remembered 404, bypass a caller who wanted it fetched anew, error a blob whose "+
		"blocks turned out wrong together. Hits, stale and negative looks against misses are the hit ratio.",
		"cache", "result")
	m.evictions = m.counters("cache_evictions_total", "Entries that left a cache, by the reason: size is its limit or max_size, "+
		"min_free the disk, ttl and removed an admin's command, corrupt damage. Many by size or min_free while the hit ratio "+
		"falls are a cache that is too small.", "cache", "reason")
	m.evictedBytes = m.counters("cache_evicted_bytes_total", "Bytes on disk that came free when entries left a cache. As much in "+
		"an hour as the cache holds is thrashing.", "cache")
	m.corruptions = m.counters("cache_corruptions_total", "Entries and blocks found damaged on disk when they were read or "+
		"verified; each is removed and fetched again, unseen by the caller. More than none calls for a look at the disk.", "cache")
	m.degraded = m.gauge("cache_degraded", "1 while the disk refuses to store, so that what is not cached is fetched for each "+
		"caller anew, else 0. The log and blobd status say what it refuses.")
}

func (m *Metrics) makeUpstream() {
	m.upstreamRequests = m.counters("upstream_requests_total", "Requests sent to registries, mirrors and token servers, each try "+
		"and each hop of a redirect, by what they asked for and the status that came; error is no answer at all. A 401 is "+
		"how a registry asks for a token and is normal beside kind token; 5xx, 429 and error are a registry that fails.",
		"registry", "kind", "code")
	m.upstreamBytes = m.counters("upstream_bytes_total", "Bytes of answers' bodies received from upstream. What was served less "+
		"this is the traffic that the cache saved.", "registry")
	m.upstreamSeconds = m.histogram("upstream_request_seconds", "Seconds from sending a request upstream to the headers of its "+
		"answer, or to its failure; bodies are not in it. High quantiles are a slow registry or network, not a slow cache.",
		latencies)
	m.servedBytes = m.counters("served_bytes_total", "Bytes of files handed to callers, by where they came from: memory, content "+
		"and block are caches, upstream is fetched for this caller. The part from upstream is what the cache did not save.", "source")
	m.staleAnswers = m.counter("stale_answers_total", "Answers to a tag that stand on its last known digest, since its time to "+
		"live was over and its registry could not be had. While it grows, callers may read old artifacts.")
	m.flights = m.gauge("flights", "Upstream fetches under way now, each counted once however many callers wait for it. One that "+
		"stays high while upstream bytes stand still is a registry that hangs.")
	m.flightJoins = m.counter("flight_joins_total", "Callers that joined a fetch under way instead of starting one: each is a "+
		"fetch that the registry was spared.")
}

func (m *Metrics) makeDaemon(o Options) {
	m.connections = m.gauge("connections", "Client connections to the socket that are open now and within the limits; idle ones "+
		"count. Compare with max_connections_per_user and three quarters of process_max_fds.")
	m.connectionsRefused = m.counter("connections_refused_total", "Client connections refused because their user, or all users "+
		"together, had as many as the limits allow. More than none means that somebody was kept out; the log says who.")
	m.reloaded = m.gauge("config_last_reload_successful", "1 when the configuration in force is the one that was read last, 0 "+
		"when a reload (SIGHUP) refused it and the one before stays in force. The log says why.")
	m.reloaded.Set(1) // the one that it started with
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "blobd", Name: "ready",
			Help: "1 while the daemon answers callers, 0 while it starts or drains: what /readyz says. It says nothing of registries.",
		}, func() float64 { return boolean(m.isReady()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "blobd", Name: "build_info", Help: "Always 1; its labels name the build, so that versions can be told apart and joined.",
			ConstLabels: prometheus.Labels{"version": o.Version, "revision": o.Revision, "goversion": runtime.Version()},
		}, func() float64 { return 1 }))
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return register(m, prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "blobd", Name: name, Help: help}, labels))
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	return register(m, prometheus.NewCounter(prometheus.CounterOpts{Namespace: "blobd", Name: name, Help: help}))
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	return register(m, prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "blobd", Name: name, Help: help}))
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return register(m, prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "blobd", Name: name, Help: help, Buckets: buckets}))
}

func register[C prometheus.Collector](m *Metrics, c C) C {
	m.registry.MustRegister(c)
	return c
}

// Registerer takes collectors of libraries (the gRPC middleware's).
func (m *Metrics) Registerer() prometheus.Registerer { return m.registry }

// Gatherer reads everything.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }
