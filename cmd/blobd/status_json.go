package main

import (
	"time"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/monitor"
)

// jsonStatus is the daemon's state for programs. Times are in RFC 3339.
type jsonStatus struct {
	At       string   `json:"at"`
	Version  string   `json:"version"`
	PID      int64    `json:"pid"`
	Started  string   `json:"started"`
	Socket   string   `json:"socket"`
	Flights  int64    `json:"flights"`
	Problems []string `json:"problems"`
	jsonCaches
	Served     map[string]int64 `json:"served_bytes"` // by source
	Upstream   int64            `json:"upstream_bytes"`
	UnderWay   []jsonFlight     `json:"flights_under_way"`
	Registries []jsonRegistry   `json:"registries"`
	Errors     []jsonEvent      `json:"errors"`
	LastUsed   []jsonArtifact   `json:"artifacts_last_used"`
	History    []jsonSample     `json:"history"`
	Config     string           `json:"config"`
}

type jsonLooks struct {
	Hits   int64 `json:"hits"`
	Misses int64 `json:"misses"`
	Other  int64 `json:"other"`
}

type jsonSample struct {
	Start    string               `json:"start"`
	Looks    map[string]jsonLooks `json:"looks"` // by cache
	Served   int64                `json:"served_bytes"`
	Upstream int64                `json:"upstream_bytes"`
	Errors   int64                `json:"errors"`
}

type jsonFlight struct {
	Kind    string `json:"kind"`
	What    string `json:"what"`
	Since   string `json:"since"`
	Callers int    `json:"callers"`
}

type jsonRegistry struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	LastOK     string `json:"last_ok,omitempty"`
	LastError  string `json:"last_error,omitempty"`
	Error      string `json:"error,omitempty"`
	Requests   int64  `json:"requests"`
	Bytes      int64  `json:"bytes"`
	RecentGood int64  `json:"recent_good"`
	RecentBad  int64  `json:"recent_bad"`
}

// jsonEvent is an event for programs.
type jsonEvent struct {
	At        string       `json:"at"`
	Kind      monitor.Kind `json:"kind"`
	Reference string       `json:"reference,omitempty"`
	Cache     string       `json:"cache,omitempty"`
	Registry  string       `json:"registry,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Source    string       `json:"source,omitempty"`
	Bytes     int64        `json:"bytes,omitempty"`
	Count     int64        `json:"count"`
	Text      string       `json:"text"`
}

func describeStatus(r *blobdv1.StatusResponse) jsonStatus {
	s := snapshotOf(r)
	out := jsonStatus{
		At: stamp(s.At), Version: s.Version, PID: r.GetPid(), Started: stamp(s.Started), Socket: s.Socket,
		Flights: r.GetFlights(), Problems: append([]string{}, s.Problems...), jsonCaches: describeCaches(r),
		Served: map[string]int64{}, Upstream: s.Upstream, UnderWay: []jsonFlight{}, Registries: []jsonRegistry{},
		Errors: []jsonEvent{}, LastUsed: []jsonArtifact{}, History: []jsonSample{}, Config: r.GetConfig(),
	}
	for _, v := range s.Served {
		out.Served[v.Source] = v.Bytes
	}
	for _, f := range s.Flights {
		out.UnderWay = append(out.UnderWay, jsonFlight{Kind: f.Kind, What: f.What, Since: stamp(f.Since), Callers: f.Callers})
	}
	for _, v := range s.Registries {
		out.Registries = append(out.Registries, jsonRegistry{
			Name: v.Name, State: v.State, LastOK: stamp(v.LastOK), LastError: stamp(v.LastError), Error: v.Error,
			Requests: v.Requests, Bytes: v.Bytes, RecentGood: v.RecentGood, RecentBad: v.RecentBad,
		})
	}
	for _, e := range s.Errors {
		out.Errors = append(out.Errors, describeEvent(e))
	}
	for _, v := range r.GetArtifactsLastUsed() {
		out.LastUsed = append(out.LastUsed, describeArtifact(v))
	}
	for _, v := range s.History {
		sample := jsonSample{
			Start: stamp(v.Start), Looks: map[string]jsonLooks{}, Served: v.Served, Upstream: v.Upstream, Errors: v.Errors,
		}
		for name, l := range v.Looks {
			sample.Looks[name] = jsonLooks(l)
		}
		out.History = append(out.History, sample)
	}
	return out
}

func describeEvent(e monitor.Event) jsonEvent {
	return jsonEvent{
		At: stamp(e.At), Kind: e.Kind, Reference: e.Reference, Cache: e.Cache, Registry: e.Registry, Reason: e.Reason,
		Source: e.Source, Bytes: e.Bytes, Count: e.Count, Text: e.Text,
	}
}

// stamp writes a time for programs; nothing for one that never was.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
