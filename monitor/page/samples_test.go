package page_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/blobd/blobd/monitor"
)

// now is when all samples were taken.
var now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// samples are snapshots of daemons in different states: what the tests hold to the rules, and people look at.
func samples() map[string]monitor.Snapshot {
	return map[string]monitor.Snapshot{"empty": empty(), "healthy": healthy(), "troubled": troubled(), "full": full()}
}

// empty is a daemon that has just started.
func empty() monitor.Snapshot {
	const mib = 1 << 20
	s := monitor.Snapshot{
		At: now, Started: now.Add(-4 * time.Second), Version: "v1.4.0", PID: 4711,
		Socket: "/run/blobd/blobd.sock", CacheDir: "/var/cache/blobd",
		Bytes: 98304, Limit: 10 << 30, DiskFree: 212 << 30, MinFree: 2 << 30, Scanning: true,
		Registries: []monitor.Registry{{Name: "ghcr.io", State: "unused"}, {Name: "other", State: "unused"}},
	}
	for _, c := range []struct {
		name  string
		limit int64
	}{{"ref", 10 * mib}, {"manifest", 50 * mib}, {"index", 200 * mib}, {"content", 10 << 30}, {"block", 10 << 30}, {"memory", 64 * mib}} {
		s.Caches = append(s.Caches, monitor.Cache{Name: c.name, Dir: "/var/cache/blobd/" + c.name, Enabled: true, Limit: c.limit})
	}
	for _, source := range []string{"memory", "content", "block", "upstream"} {
		s.Served = append(s.Served, monitor.Served{Source: source})
	}
	return s
}

// healthy is a daemon at work.
func healthy() monitor.Snapshot {
	s := empty()
	s.Scanning, s.Started, s.Bytes = false, now.Add(-76*time.Hour), 7_340_000_000
	random := rand.New(rand.NewPCG(1, 2))
	for i := range s.Caches {
		c := &s.Caches[i]
		good := []int64{9400, 9990, 9800, 9120, 7000, 8800}[i]
		c.Looks = monitor.Looks{Hits: 120 * good, Misses: 120 * (10_000 - good), Other: 3}
		c.Recent = monitor.Looks{Hits: good / 9, Misses: (10_000 - good) / 9}
		c.Bytes, c.Entries = c.Limit/[]int64{90, 30, 12, 2, 6, 1}[i], []int64{318, 402, 377, 48_112, 96, 5210}[i]
	}
	s.Caches[1].Recent = monitor.Looks{Hits: 812}
	for i := range s.Served {
		s.Served[i].Bytes = []int64{9 << 30, 61 << 30, 5 << 30, 1200 << 20}[i]
	}
	s.Upstream = 1900 << 20
	for i := range 60 {
		m := monitor.Sample{Start: now.Add(time.Duration(i-60) * time.Minute).Truncate(time.Minute), Looks: map[string]monitor.Looks{}}
		busy := 300 + random.Int64N(700)
		if i > 20 && i < 27 {
			busy = 0
		}
		for j, c := range s.Caches {
			hits := busy * ([]int64{9400, 9990, 9800, 9120, 7000, 8800}[j] - random.Int64N(1500)) / 10_000
			if c.Name == "block" && i%7 > 2 {
				continue
			}
			m.Looks[c.Name] = monitor.Looks{Hits: hits, Misses: busy - hits}
		}
		m.Served = busy * 40 << 10
		m.Upstream = m.Served * random.Int64N(12) / 100
		if i == 41 {
			m.Upstream = m.Served * 2
		}
		s.History = append(s.History, m)
	}
	s.Flights = []monitor.Flight{
		{Kind: "blocks", What: "sha256:" + digest(77), Since: now.Add(-83 * time.Second), Callers: 3},
		{Kind: "tag", What: "ghcr.io/acme/website:latest", Since: now.Add(-400 * time.Millisecond), Callers: 1},
	}
	s.Registries = []monitor.Registry{
		{Name: "docker.io", State: "ok", LastOK: now.Add(-26 * time.Minute), Requests: 91, Bytes: 212 << 20},
		{Name: "ghcr.io", State: "ok", LastOK: now.Add(-2 * time.Second), LastError: now.Add(-9 * time.Hour),
			Error: "503 Service Unavailable", Requests: 18_204, Bytes: 1600 << 20, RecentGood: 61},
		{Name: "other", State: "unused"},
	}
	s.Artifacts = artifacts(23)
	return s
}

// troubled is one at which much is wrong.
func troubled() monitor.Snapshot {
	s := healthy()
	s.Problems = []string{"The disk refuses writes (no space left on device): files come from their registries and are not kept."}
	s.DiskFree = 11 << 20
	s.Caches[4].Enabled = false
	s.Registries[1].State, s.Registries[1].RecentBad = "failing", 44
	s.Registries[1].LastError = now.Add(-3 * time.Second)
	s.Registries[1].Error = `Get "https://ghcr.io/v2/acme/website/manifests/latest": dial tcp 140.82.121.34:443: connect: connection refused`
	s.Errors = failures(13)
	for i := range s.History {
		s.History[i].Errors = int64(i % 3)
	}
	return s
}

// full has as much of everything as a snapshot can have.
func full() monitor.Snapshot {
	s := troubled()
	s.Errors, s.Artifacts, s.More = failures(monitor.MaxErrors), artifacts(monitor.MaxArtifacts), 1234
	s.Flights = nil
	for i := range monitor.MaxFlights {
		s.Flights = append(s.Flights, monitor.Flight{Kind: "content", What: "sha256:" + digest(i),
			Since: now.Add(-time.Duration(monitor.MaxFlights-i) * time.Second), Callers: 1 + i%5})
	}
	return s
}

func artifacts(n int) (list []monitor.Artifact) {
	names := []string{"website", "ml/models/translation-large-en-de", "fonts", "checkout-service", "maps/tiles"}
	for i := range n {
		a := monitor.Artifact{
			Reference: fmt.Sprintf("ghcr.io/acme/%s@sha256:%s", names[i%len(names)], digest(i)),
			Type:      "application/vnd.meigma.blob.v1", Files: int64(1 + i*i*37%5000),
			Size: int64(1+i*7919%613) << (12 + i%13), Pinned: i == 2, LastUsed: now.Add(-time.Duration(i*i*i) * 13 * time.Second),
		}
		if a.Cached = a.Size; i%4 == 1 {
			a.Cached = a.Size * int64(i%10) / 10
		}
		if i%3 == 0 {
			a.Tags = []string{fmt.Sprintf("v1.%d.0", i), "latest"}
		}
		list = append(list, a)
	}
	return list
}

func failures(n int) (list []monitor.Event) {
	all := []monitor.Event{
		{Kind: monitor.Upstream, Registry: "ghcr.io", Reason: "UPSTREAM_UNREACHABLE", Count: 44,
			Text: "ghcr.io: connect: connection refused"},
		{Kind: monitor.Corrupt, Cache: "content", Count: 1,
			Text: "An entry of the cache content was damaged; it is removed, and fetched anew when it is wanted"},
		{Kind: monitor.Failed, Reason: "DIGEST_MISMATCH", Reference: "ghcr.io/acme/fonts:latest", Count: 2,
			Text: "ghcr.io/acme/fonts:latest: the registry's answer has another digest than it was asked for"},
		{Kind: monitor.Degraded, Count: 1, Text: "The disk refuses writes: no space left on device"},
	}
	for i := range n {
		e := all[i%len(all)]
		e.At = now.Add(-time.Duration(3+i*i*5) * time.Second)
		list = append(list, e)
	}
	return list
}

func digest(i int) string { return strings.Repeat(fmt.Sprintf("%08x", uint32(i+1)*2654435761), 8) }
