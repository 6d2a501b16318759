package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Usage is how full the caches are, in bytes, at one moment.
type Usage struct {
	Bytes, Limit      int64 // all that counts against max_size; max_size
	DiskFree, MinFree int64 // of the disk that has the least to spare
	Scanning          bool
	Caches            map[string]CacheUsage // by the name that metrics have for it
}

// CacheUsage is how full one cache is.
type CacheUsage struct {
	Bytes   int64 // what the disk (or the memory) gives up for it
	Limit   int64 // in force now, scaled down where the caps together pass the total
	Entries int64
}

// usageCollector asks for the state of the caches when it is scraped, so that nobody has to keep gauges up to date.
type usageCollector struct {
	bytes, limit, entries *prometheus.Desc // of each cache
	storage, storageLimit *prometheus.Desc
	diskFree, diskMinFree *prometheus.Desc
	scanning              *prometheus.Desc
	snapshot              atomic.Pointer[func() Usage]
}

func newUsageCollector() *usageCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("blobd_"+name, help, labels, nil)
	}
	return &usageCollector{
		bytes: desc("cache_bytes", "Bytes that the entries of a cache take now, on disk or, for memory, in memory. Near the limit is "+
			"normal: a cache fills up.", "cache"),
		limit: desc("cache_limit_bytes", "The most bytes that a cache may take now: its configured size, or less where max_size or "+
			"the memory limit is smaller. A cache that is switched off has 0.", "cache"),
		entries: desc("cache_entries", "Entries that are in a cache now: tags, manifests, indexes, files, blobs of which blocks are there.",
			"cache"),
		storage: desc("storage_bytes", "Bytes of disk that all caches take together now, with temporary files and blobd's own records: "+
			"what is held below blobd_storage_limit_bytes."),
		storageLimit: desc("storage_limit_bytes", "max_size, in bytes: the most that all caches may take on disk together. Eviction "+
			"starts at 95 % of it."),
		diskFree: desc("disk_free_bytes", "Bytes that are free for blobd on the disk of its caches; with several disks, on the one "+
			"with the least to spare. Below blobd_disk_min_free_bytes, caches give way to what else fills the disk."),
		diskMinFree: desc("disk_min_free_bytes", "min_free, in bytes: how much blobd leaves free on that disk."),
		scanning: desc("cache_scanning", "1 while the scan of the cache folders after a start goes on, else 0. Meanwhile files are "+
			"served, and sizes and entries may be told too small."),
	}
}

// WatchCaches gives the function that tells how full the caches are. It is called at each scrape. Before, and for a cache
// that it does not name, all is zero.
func (m *Metrics) WatchCaches(snapshot func() Usage) { m.usage.snapshot.Store(&snapshot) }

// Describe implements prometheus.Collector.
func (u *usageCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(u, ch) }

// Collect implements prometheus.Collector.
func (u *usageCollector) Collect(ch chan<- prometheus.Metric) {
	var now Usage
	if snapshot := u.snapshot.Load(); snapshot != nil {
		now = (*snapshot)()
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	for _, c := range caches {
		gauge(u.bytes, float64(now.Caches[c].Bytes), c)
		gauge(u.limit, float64(now.Caches[c].Limit), c)
		gauge(u.entries, float64(now.Caches[c].Entries), c)
	}
	gauge(u.storage, float64(now.Bytes))
	gauge(u.storageLimit, float64(now.Limit))
	gauge(u.diskFree, float64(now.DiskFree))
	gauge(u.diskMinFree, float64(now.MinFree))
	gauge(u.scanning, boolean(now.Scanning))
}
