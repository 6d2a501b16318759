package server

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/monitor"
)

// addSnapshot puts into a status what the domain does not know.
func addSnapshot(out *blobdv1.StatusResponse, s monitor.Snapshot) {
	out.At = timestamppb.New(s.At)
	out.UpstreamBytes = s.Upstream
	looks := make(map[string]monitor.Cache, len(s.Caches))
	for _, c := range s.Caches {
		looks[c.Name] = c
	}
	for _, c := range out.Caches {
		c.Looks, c.RecentLooks = looksTo(looks[c.Name].Looks), looksTo(looks[c.Name].Recent)
	}
	for _, v := range s.Served {
		out.Served = append(out.Served, &blobdv1.Served{Source: v.Source, Bytes: v.Bytes})
	}
	for _, v := range s.History {
		out.History = append(out.History, sampleTo(v))
	}
	for _, v := range s.Flights {
		out.FlightsUnderWay = append(out.FlightsUnderWay, &blobdv1.Flight{
			Kind: v.Kind, What: v.What, Since: timestamppb.New(v.Since), Callers: int32(v.Callers),
		})
	}
	for _, v := range s.Registries {
		out.Registries = append(out.Registries, &blobdv1.RegistryStatus{
			Name: v.Name, State: v.State, LastOk: timeTo(v.LastOK), LastError: timeTo(v.LastError), Error: v.Error,
			Requests: v.Requests, Bytes: v.Bytes, RecentGood: v.RecentGood, RecentBad: v.RecentBad,
		})
	}
	out.Errors = eventsTo(s.Errors).Events
	for _, v := range s.Artifacts {
		registry, rest, _ := strings.Cut(v.Reference, "/")
		repository, digest, _ := strings.Cut(rest, "@")
		out.ArtifactsLastUsed = append(out.ArtifactsLastUsed, &blobdv1.Artifact{
			Registry: registry, Repository: repository, Digest: digest, Tags: v.Tags, ArtifactType: v.Type,
			Files: v.Files, Size: v.Size, Cached: v.Cached, Pinned: v.Pinned, LastUsed: timeTo(v.LastUsed),
		})
	}
}

func looksTo(l monitor.Looks) *blobdv1.Looks {
	return &blobdv1.Looks{Hits: l.Hits, Misses: l.Misses, Other: l.Other}
}

func sampleTo(s monitor.Sample) *blobdv1.Sample {
	out := &blobdv1.Sample{
		Start: timestamppb.New(s.Start), Looks: make(map[string]*blobdv1.Looks, len(s.Looks)),
		ServedBytes: s.Served, UpstreamBytes: s.Upstream, Errors: s.Errors,
	}
	for name, l := range s.Looks {
		out.Looks[name] = looksTo(l)
	}
	return out
}

func eventsTo(events []monitor.Event) *blobdv1.WatchEventsResponse {
	out := &blobdv1.WatchEventsResponse{Events: make([]*blobdv1.Event, len(events))}
	for i, e := range events {
		out.Events[i] = &blobdv1.Event{
			At: timestamppb.New(e.At), Kind: string(e.Kind), Reference: e.Reference, Cache: e.Cache, Registry: e.Registry,
			Reason: e.Reason, Source: e.Source, Bytes: e.Bytes, Count: e.Count, Text: e.Text,
		}
	}
	return out
}

// timeTo leaves out a time that is none.
func timeTo(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// timeOf is the zero time where none was given.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
