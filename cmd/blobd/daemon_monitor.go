package main

import (
	"cmp"
	"context"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/metrics"
	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/pullthrough"
)

// observers tell the metrics what the rooms observe, and the monitor what it wants to hear of that.
type observers struct {
	*metrics.Metrics
	monitor *monitor.Monitor
}

// CacheRequest implements pullthrough.Observer.
func (o observers) CacheRequest(cache, result string) {
	o.Metrics.CacheRequest(cache, result)
	o.monitor.CacheRequest(cache, result)
}

// Served implements pullthrough.Observer.
func (o observers) Served(source string, n int64) {
	o.Metrics.Served(source, n)
	o.monitor.Served(source, n)
}

// UpstreamRequest implements fetcher.Observer.
func (o observers) UpstreamRequest(registry, kind, code string, seconds float64) {
	o.Metrics.UpstreamRequest(registry, kind, code, seconds)
	o.monitor.UpstreamRequest(registry, kind, code, seconds)
}

// UpstreamBytes implements fetcher.Observer.
func (o observers) UpstreamBytes(registry string, n int64) {
	o.Metrics.UpstreamBytes(registry, n)
	o.monitor.UpstreamBytes(registry, n)
}

// Evicted implements store.Observer.
func (o observers) Evicted(class, reason string, bytes int64) {
	o.Metrics.Evicted(class, reason, bytes)
	o.monitor.Evicted(cache.Name(class), reason, bytes)
}

// Corrupted implements store.Observer.
func (o observers) Corrupted(class string) {
	o.Metrics.Corrupted(class)
	o.monitor.Corrupted(cache.Name(class))
}

// upstreamFailed is fetcher.Options.Failed.
func (o observers) upstreamFailed(registry string, e *fault.Error) {
	o.monitor.UpstreamFailed(registry, string(e.Reason), e.Error())
}

// monitored is what the monitor asks of a service.
func monitored(s *pullthrough.Service) monitor.Sources {
	return monitor.Sources{
		Usage:   func() monitor.Usage { return monitorUsage(s.Status()) },
		Flights: func() []monitor.Flight { return monitorFlights(s.Flights()) },
		Artifacts: func(ctx context.Context, most int) ([]monitor.Artifact, int) {
			list, more := s.LastUsed(ctx, most)
			out := make([]monitor.Artifact, len(list))
			for i, a := range list {
				out[i] = monitorArtifact(a)
			}
			return out, more
		},
	}
}

func monitorUsage(st pullthrough.Status) monitor.Usage {
	u := monitor.Usage{
		Bytes: st.Bytes, Limit: st.Limit, DiskFree: st.DiskFree, MinFree: st.MinFree,
		Scanning: st.Scanning, Problems: st.Problems,
	}
	for _, c := range st.Caches {
		u.Caches = append(u.Caches, monitor.Cache{
			Name: c.Name, Dir: c.Path, Enabled: c.Enabled, Bytes: c.Bytes, Limit: c.Limit, Entries: c.Entries,
		})
	}
	return u
}

func monitorFlights(list []pullthrough.Flight) []monitor.Flight {
	out := make([]monitor.Flight, len(list))
	for i, f := range list {
		out[i] = monitor.Flight(f)
	}
	return out
}

// mostTags of an artifact are shown: who wants to see all of a thousand asks `blobd cache ls`.
const mostTags = 20

func monitorArtifact(a pullthrough.ArtifactInfo) monitor.Artifact {
	return monitor.Artifact{
		Reference: a.Registry + "/" + a.Repository + "@" + a.Digest.String(), Tags: a.Tags[:min(len(a.Tags), mostTags)],
		Type: cmp.Or(a.ArtifactType, a.MediaType), Files: a.Files, Size: a.Size, Cached: a.Cached,
		Pinned: a.Pinned, LastUsed: a.LastUsed,
	}
}
