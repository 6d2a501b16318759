package metrics

import (
	"slices"
	"strings"
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
