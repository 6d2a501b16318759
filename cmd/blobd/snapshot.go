package main

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/monitor"
)

// snapshotOf reads a status. What a daemon of an older version does not tell is empty.
func snapshotOf(r *blobdv1.StatusResponse) monitor.Snapshot {
	s := monitor.Snapshot{
		At: timeIn(r.GetAt()), Started: timeIn(r.GetStarted()), Version: r.GetVersion(), PID: int(r.GetPid()), Socket: r.GetSocket(),
		CacheDir: r.GetCacheDir(), Bytes: r.GetBytes(), Limit: r.GetLimit(), DiskFree: r.GetDiskFree(), MinFree: r.GetMinFree(),
		Scanning: r.GetScanning(), Problems: r.GetProblems(), Upstream: r.GetUpstreamBytes(), Errors: eventsOf(r.GetErrors()),
		More: int(r.GetArtifacts()) - len(r.GetArtifactsLastUsed()),
	}
	if s.At.IsZero() {
		s.At = time.Now()
	}
	for _, c := range r.GetCaches() {
		s.Caches = append(s.Caches, monitor.Cache{
			Name: c.GetName(), Dir: c.GetPath(), Enabled: c.GetEnabled(), Bytes: c.GetBytes(), Limit: c.GetLimit(),
			Entries: c.GetEntries(), Looks: looksOf(c.GetLooks()), Recent: looksOf(c.GetRecentLooks()),
		})
	}
	for _, v := range r.GetServed() {
		s.Served = append(s.Served, monitor.Served{Source: v.GetSource(), Bytes: v.GetBytes()})
	}
	for _, v := range r.GetHistory() {
		sample := monitor.Sample{
			Start: timeIn(v.GetStart()), Looks: make(map[string]monitor.Looks, len(v.GetLooks())),
			Served: v.GetServedBytes(), Upstream: v.GetUpstreamBytes(), Errors: v.GetErrors(),
		}
		for name, l := range v.GetLooks() {
			sample.Looks[name] = looksOf(l)
		}
		s.History = append(s.History, sample)
	}
	for _, v := range r.GetFlightsUnderWay() {
		s.Flights = append(s.Flights, monitor.Flight{
			Kind: v.GetKind(), What: v.GetWhat(), Since: timeIn(v.GetSince()), Callers: int(v.GetCallers()),
		})
	}
	for _, v := range r.GetRegistries() {
		s.Registries = append(s.Registries, monitor.Registry{
			Name: v.GetName(), State: v.GetState(), LastOK: timeIn(v.GetLastOk()), LastError: timeIn(v.GetLastError()), Error: v.GetError(),
			Requests: v.GetRequests(), Bytes: v.GetBytes(), RecentGood: v.GetRecentGood(), RecentBad: v.GetRecentBad(),
		})
	}
	for _, v := range r.GetArtifactsLastUsed() {
		s.Artifacts = append(s.Artifacts, monitor.Artifact{
			Reference: v.GetRegistry() + "/" + v.GetRepository() + "@" + v.GetDigest(), Tags: v.GetTags(), Type: v.GetArtifactType(),
			Files: v.GetFiles(), Size: v.GetSize(), Cached: v.GetCached(), Pinned: v.GetPinned(), LastUsed: timeIn(v.GetLastUsed()),
		})
	}
	return s
}

func looksOf(l *blobdv1.Looks) monitor.Looks {
	return monitor.Looks{Hits: l.GetHits(), Misses: l.GetMisses(), Other: l.GetOther()}
}

func eventsOf(list []*blobdv1.Event) []monitor.Event {
	out := make([]monitor.Event, len(list))
	for i, e := range list {
		out[i] = monitor.Event{
			At: timeIn(e.GetAt()), Kind: monitor.Kind(e.GetKind()), Reference: e.GetReference(), Cache: e.GetCache(),
			Registry: e.GetRegistry(), Reason: e.GetReason(), Source: e.GetSource(), Bytes: e.GetBytes(), Count: e.GetCount(), Text: e.GetText(),
		}
	}
	return out
}

// timeIn is the zero time where there is none.
func timeIn(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}
