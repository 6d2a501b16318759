package metrics

import "slices"

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

// StaleServed counts a tag that was answered as it was last known.
func (m *Metrics) StaleServed() { m.staleAnswers.Inc() }

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
func (m *Metrics) Problem(err error) { m.degraded.Set(boolean(err != nil)) }

// Reloaded says how taking over a configuration that was read again went.
func (m *Metrics) Reloaded(err error) { m.reloaded.Set(boolean(err == nil)) }

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

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
