package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client/clienttest"
	"github.com/blobd/blobd/monitor"
)

func stampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// statusOf is what a daemon answers that is in this state.
func statusOf(s monitor.Snapshot) *blobdv1.StatusResponse {
	r := &blobdv1.StatusResponse{
		Version: s.Version, Started: stampOf(s.Started), Pid: int64(s.PID), Socket: s.Socket, CacheDir: s.CacheDir, At: stampOf(s.At),
		Bytes: s.Bytes, Limit: s.Limit, DiskFree: s.DiskFree, MinFree: s.MinFree, Problems: s.Problems, UpstreamBytes: s.Upstream,
		Artifacts: int64(len(s.Artifacts) + s.More), Flights: int64(len(s.Flights)),
	}
	looks := func(l monitor.Looks) *blobdv1.Looks {
		return &blobdv1.Looks{Hits: l.Hits, Misses: l.Misses, Other: l.Other}
	}
	for _, c := range s.Caches {
		r.Caches = append(r.Caches, &blobdv1.CacheStatus{
			Name: c.Name, Path: c.Dir, Enabled: c.Enabled, Bytes: c.Bytes, Limit: c.Limit, Entries: c.Entries,
			Looks: looks(c.Looks), RecentLooks: looks(c.Recent),
		})
	}
	for _, v := range s.Served {
		r.Served = append(r.Served, &blobdv1.Served{Source: v.Source, Bytes: v.Bytes})
	}
	for _, v := range s.History {
		sample := &blobdv1.Sample{Start: stampOf(v.Start), Looks: map[string]*blobdv1.Looks{}, ServedBytes: v.Served, UpstreamBytes: v.Upstream, Errors: v.Errors}
		for name, l := range v.Looks {
			sample.Looks[name] = looks(l)
		}
		r.History = append(r.History, sample)
	}
	for _, f := range s.Flights {
		r.FlightsUnderWay = append(r.FlightsUnderWay, &blobdv1.Flight{Kind: f.Kind, What: f.What, Since: stampOf(f.Since), Callers: int32(f.Callers)})
	}
	for _, v := range s.Registries {
		r.Registries = append(r.Registries, &blobdv1.RegistryStatus{
			Name: v.Name, State: v.State, LastOk: stampOf(v.LastOK), LastError: stampOf(v.LastError), Error: v.Error,
			Requests: v.Requests, Bytes: v.Bytes, RecentGood: v.RecentGood, RecentBad: v.RecentBad,
		})
	}
	for _, e := range s.Errors {
		r.Errors = append(r.Errors, protoEvent(e))
	}
	for _, a := range s.Artifacts {
		registry, rest, _ := strings.Cut(a.Reference, "/")
		repository, digest, _ := strings.Cut(rest, "@")
		r.ArtifactsLastUsed = append(r.ArtifactsLastUsed, &blobdv1.Artifact{
			Registry: registry, Repository: repository, Digest: digest, Tags: a.Tags, ArtifactType: a.Type,
			Files: a.Files, Size: a.Size, Cached: a.Cached, Pinned: a.Pinned, LastUsed: stampOf(a.LastUsed),
		})
	}
	return r
}

func protoEvent(e monitor.Event) *blobdv1.Event {
	return &blobdv1.Event{
		At: stampOf(e.At), Kind: string(e.Kind), Reference: e.Reference, Cache: e.Cache, Registry: e.Registry, Reason: e.Reason,
		Source: e.Source, Bytes: e.Bytes, Count: e.Count, Text: e.Text,
	}
}

// eventful is a daemon that tells of itself: each time somebody watches, the next of its scripts.
type eventful struct {
	fakeAdmin
	state monitor.Snapshot

	mu      sync.Mutex // guards what follows
	asked   []*blobdv1.WatchEventsRequest
	scripts []func(context.Context, func(...monitor.Event) error) error
}

func (e *eventful) Status(_ context.Context, r *blobdv1.StatusRequest) (*blobdv1.StatusResponse, error) {
	out := statusOf(e.state)
	if !r.ListArtifacts {
		out.ArtifactsLastUsed = nil
	}
	return out, nil
}

func (e *eventful) WatchEvents(r *blobdv1.WatchEventsRequest, s grpc.ServerStreamingServer[blobdv1.WatchEventsResponse]) error {
	e.mu.Lock()
	e.asked = append(e.asked, r)
	script := e.scripts[0]
	e.scripts = e.scripts[1:]
	e.mu.Unlock()
	return script(s.Context(), func(events ...monitor.Event) error {
		m := new(blobdv1.WatchEventsResponse)
		for _, one := range events {
			m.Events = append(m.Events, protoEvent(one))
		}
		return s.Send(m)
	})
}

func TestStatusText(t *testing.T) {
	d, _ := start(t)
	d.SetAdmin(&eventful{state: busy().now})
	got := blobd(t, d, "status")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{
		"served    26 GiB (5.0 GiB memory, 20 GiB content, 1.0 GiB upstream)", "fetched   3.0 GiB from registries", "up        1d2h",
		"problem: content: write: no space left on device", "content   8.0 MiB  1.0 GiB    3,702   92%   100%", "ref       1.0 MiB",
		"registry.internal.exampl…  failing", "FLIGHT", "ghcr.io/team/site:v1", "ERRORS LATELY", "1m ago, upstream failure: registry.internal.example.com:5000 ×3",
		"ghcr.io/team/artifact-00", "… and 33 more",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is not in:\n%s", want, got.stdout)
		}
	}
	for line := range strings.Lines(got.stdout) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d places: %q", n, line)
		}
	}
}

// With -o json there is all of it.
func TestStatusJSON(t *testing.T) {
	d, _ := start(t)
	state := busy().now
	d.SetAdmin(&eventful{state: state})
	var got struct {
		Caches []struct {
			Name     string
			HitRatio *float64 `json:"hit_ratio"`
			Recent   *float64 `json:"recent_hit_ratio"`
		}
		Served  map[string]int64 `json:"served_bytes"`
		History []struct {
			Looks map[string]struct{ Hits int64 }
		}
		UnderWay   []struct{ What string } `json:"flights_under_way"`
		Registries []struct{ Name, State string }
		Errors     []struct{ Kind, Text string }
		LastUsed   []struct{ Reference string } `json:"artifacts_last_used"`
	}
	if err := json.Unmarshal([]byte(blobd(t, d, "status", "-o", "json").stdout), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Caches) != 6 || *got.Caches[3].HitRatio != 300.0/325 || got.Caches[0].Recent != nil || got.Served["content"] != 20<<30 {
		t.Errorf("caches: %+v", got.Caches)
	}
	if len(got.History) != 45 || got.History[44].Looks["content"].Hits != 44 || len(got.UnderWay) != 2 || len(got.Registries) != 3 ||
		len(got.Errors) != 2 || got.Errors[1].Kind != "corruption" || len(got.LastUsed) != 40 || got.LastUsed[3].Reference != state.Artifacts[3].Reference {
		t.Errorf("%+v", got)
	}
}

// some are events of each sort.
func some() []monitor.Event {
	return []monitor.Event{
		{At: noon, Kind: monitor.Pulled, Reference: "ghcr.io/a/b:v1@sha256:" + strings.Repeat("ab", 32), Source: "cache", Count: 2, Text: "from the cache"},
		{At: noon.Add(time.Second), Kind: monitor.Evicted, Cache: "content", Reason: "size", Bytes: 9, Count: 3, Text: "3 entries left\x1b[2J"},
		{At: noon.Add(2 * time.Second), Kind: monitor.Upstream, Registry: "ghcr.io", Reason: "UPSTREAM_5XX", Count: 1, Text: "it answered 503"},
	}
}

func TestEvents(t *testing.T) {
	d, _ := start(t)
	service := new(eventful)
	d.SetAdmin(service)
	all := func(_ context.Context, send func(...monitor.Event) error) error { return send(some()...) }
	for range 3 {
		service.scripts = append(service.scripts, all)
	}
	got := blobd(t, d, "events", "-n", "7", "--kind", "pull,eviction", "--kind", "upstream_failure")
	want := "2026-01-02 12:00:00  pull              ghcr.io/a/b:v1@sha256:abababababab ×2: from the cache\n" +
		"2026-01-02 12:00:01  eviction          3 entries left [2J\n" +
		"2026-01-02 12:00:02  upstream_failure  ghcr.io UPSTREAM_5XX: it answered 503\n"
	if got.code != 0 || got.stdout != want || got.stderr != "" {
		t.Errorf("%+v, want\n%s", got, want)
	}
	if r := service.asked[0]; r.Backlog != 7 || r.Follow || !slices.Equal(r.Kinds, []string{"pull", "eviction", "upstream_failure"}) {
		t.Errorf("asked for %v", r)
	}
	got = blobd(t, d, "events", "-o", "json")
	var kinds []string
	for line := range strings.Lines(got.stdout) {
		var e struct {
			Kind  string
			Count int
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Count < 1 {
			t.Fatalf("%v in %q", err, line)
		}
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, []string{"pull", "eviction", "upstream_failure"}) {
		t.Errorf("%q", kinds)
	}
	if got := blobd(t, d, "events", "-n", "-1"); got.code != exitUsage || !strings.Contains(got.stderr, "negative") {
		t.Errorf("%+v", got)
	}
	service.scripts = []func(context.Context, func(...monitor.Event) error) error{
		func(context.Context, func(...monitor.Event) error) error {
			return clienttest.Status(codes.InvalidArgument, "INVALID_ARGUMENT", "no such kind", "there are others", 0)
		},
	}
	if got := blobd(t, d, "events", "-f", "--kind", "x"); got.code != exitUsage || !strings.Contains(got.stderr, "no such kind; there are others") {
		t.Errorf("%+v", got)
	}
}

// A follower goes on where it was when the daemon is back, and says so once; an interrupt is a good end.
func TestFollowingPastARestart(t *testing.T) {
	d, _ := start(t)
	stopping := clienttest.Status(codes.Unavailable, "SHUTTING_DOWN", "the daemon is shutting down", "", 0)
	ctx, interrupt := context.WithCancel(t.Context())
	service := &eventful{scripts: []func(context.Context, func(...monitor.Event) error) error{
		func(_ context.Context, send func(...monitor.Event) error) error {
			if err := send(some()[0]); err != nil {
				return err
			}
			return stopping
		},
		func(context.Context, func(...monitor.Event) error) error { return stopping },
		func(context.Context, func(...monitor.Event) error) error { return stopping },
		func(context.Context, func(...monitor.Event) error) error { return stopping },
		func(context.Context, func(...monitor.Event) error) error { return stopping },
		func(ctx context.Context, send func(...monitor.Event) error) error {
			if err := send(some()[1]); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		},
	}}
	d.SetAdmin(service)
	var stdout, stderr bytes.Buffer
	a := &app{stdout: writer(func(p []byte) (int, error) {
		if stdout.Len() > 0 {
			interrupt() // the second line
		}
		return stdout.Write(p)
	}), stderr: &stderr}
	if code := a.run(ctx, []string{"--socket", d.Socket, "events", "-f", "-o", "json"}); code != 0 {
		t.Errorf("exit %d", code)
	}
	if n := strings.Count(stdout.String(), "\n"); n != 2 {
		t.Errorf("%d events: %s", n, stdout.String())
	}
	said := fmt.Sprint(strings.Count(stderr.String(), "has gone"), strings.Count(stderr.String(), "is back"), strings.Count(stderr.String(), "\n"))
	if said != "1 1 2" {
		t.Errorf("said %q", stderr.String())
	}
	last := service.asked[len(service.asked)-1]
	if first := service.asked[0]; first.Since != nil || first.Backlog != backlogShown || !last.Since.AsTime().Equal(noon) || last.Backlog < 1000 {
		t.Errorf("asked for %v, and later for %v", first, last)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// A daemon that never was is not waited for.
func TestFollowingNobody(t *testing.T) {
	if got := blobd(t, nil, "events", "-f", "--socket", t.TempDir()+"/none"); got.code != exitUnreachable {
		t.Errorf("%+v", got)
	}
}

func TestKindCompletion(t *testing.T) {
	for typed, want := range map[string]string{
		"": "pull\neviction\ncorruption\nupstream_failure\nerror\ndegraded\n", "pull,": "pull,eviction\npull,corruption\n",
	} {
		if got := blobd(t, nil, "__complete", "events", "--kind", typed); !strings.HasPrefix(got.stdout, want) {
			t.Errorf("%q: %q, want %q", typed, got.stdout, want)
		}
	}
}

func TestTopNeedsATerminal(t *testing.T) {
	for _, args := range [][]string{{"top"}, {"top", "-o", "json"}, {"top", "--interval", "1ms"}} {
		if got := blobd(t, nil, args...); got.code != exitUsage || !strings.Contains(got.stderr, "blobd ") {
			t.Errorf("%q: %+v", args, got)
		}
	}
	if got := blobd(t, nil, "top"); !strings.Contains(got.stderr, "needs a terminal; `blobd status`") {
		t.Errorf("%q", got.stderr)
	}
}
