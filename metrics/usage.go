package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Usage is how full one cache is.
type Usage struct {
	Bytes   int64 // what the disk (or the memory) gives up for it
	Limit   int64 // in force now, scaled down where the caps together pass the total
	Entries int64
}

// usageCollector asks for the state of the caches when it is scraped, so that nobody has to keep gauges up to date.
type usageCollector struct {
	bytes, limit, entries *prometheus.Desc
	snapshot              atomic.Pointer[func() map[string]Usage]
}

func newUsageCollector() *usageCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("blobd_cache_"+name, help, []string{"cache"}, nil)
	}
	return &usageCollector{
		bytes:   desc("bytes", "Bytes that a cache takes, on disk or in memory."),
		limit:   desc("limit_bytes", "The most a cache may take now."),
		entries: desc("entries", "Entries in a cache."),
	}
}

// WatchCaches gives the function that tells how full each cache is, by the name that metrics have for it. It is called
// at each scrape. Before, and for a cache it does not name, all is zero.
func (m *Metrics) WatchCaches(snapshot func() map[string]Usage) { m.usage.snapshot.Store(&snapshot) }

// Describe implements prometheus.Collector.
func (u *usageCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- u.bytes
	ch <- u.limit
	ch <- u.entries
}

// Collect implements prometheus.Collector.
func (u *usageCollector) Collect(ch chan<- prometheus.Metric) {
	var now map[string]Usage
	if snapshot := u.snapshot.Load(); snapshot != nil {
		now = (*snapshot)()
	}
	for _, c := range caches {
		gauge := func(d *prometheus.Desc, n int64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), c)
		}
		gauge(u.bytes, now[c].Bytes)
		gauge(u.limit, now[c].Limit)
		gauge(u.entries, now[c].Entries)
	}
}
