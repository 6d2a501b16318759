package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/pullthrough"
	"github.com/blobd/blobd/server"
)

// watched runs a server of d with a monitor.
func watched(t *testing.T, d *domain) (*running, *monitor.Monitor) {
	t.Helper()
	m := monitor.New(monitor.Options{Registries: []string{"ghcr.io"}})
	t.Cleanup(m.Close)
	return start(t, d, func(o *server.Options) { o.Monitor = m }), m
}

// told are the events that come by a stream until it ends.
func told(stream grpc.ServerStreamingClient[blobdv1.WatchEventsResponse], err error) (events []string, _ error) {
	for err == nil {
		var m *blobdv1.WatchEventsResponse
		if m, err = stream.Recv(); err == nil {
			events = append(events, eventsIn(m)...)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return events, err
}

func eventsIn(m *blobdv1.WatchEventsResponse) (events []string) {
	for _, e := range m.Events {
		events = append(events, fmt.Sprint(e.Kind, " ", e.Reference, e.Cache, e.Registry, e.Reason, " ×", e.Count))
	}
	return events
}

func TestWatchRecentEvents(t *testing.T) {
	r, m := watched(t, newDomain(t, nil))
	for i := range 3 {
		m.Corrupted(fmt.Sprint("c", i))
	}
	m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "down")
	all := []string{"corruption c0 ×1", "corruption c1 ×1", "corruption c2 ×1", "upstream_failure ghcr.ioUPSTREAM_5XX ×1"}
	for name, tt := range map[string]struct {
		request *blobdv1.WatchEventsRequest
		want    []string
	}{
		"none":       {&blobdv1.WatchEventsRequest{}, nil},
		"all":        {&blobdv1.WatchEventsRequest{Backlog: 100}, all},
		"the last":   {&blobdv1.WatchEventsRequest{Backlog: 2}, all[2:]},
		"of a kind":  {&blobdv1.WatchEventsRequest{Backlog: 100, Kinds: []string{"corruption"}}, all[:3]},
		"of kinds":   {&blobdv1.WatchEventsRequest{Backlog: 100, Kinds: []string{"pull", "upstream_failure"}}, all[3:]},
		"after them": {&blobdv1.WatchEventsRequest{Backlog: 100, Since: timestamppb.New(time.Now().Add(time.Hour))}, nil},
	} {
		got, err := told(r.admin.WatchEvents(t.Context(), tt.request))
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
	}
	_, err := told(r.admin.WatchEvents(t.Context(), &blobdv1.WatchEventsRequest{Kinds: []string{"corruption", "x"}}))
	wantStatus(t, "no such kind", err, codes.InvalidArgument, fault.InvalidArgument)
	_, err = told(r.admin.WatchEvents(t.Context(), &blobdv1.WatchEventsRequest{Backlog: -1}))
	wantStatus(t, "a backlog below nothing", err, codes.InvalidArgument, fault.InvalidArgument)
}

// Many events come whole, in several messages.
func TestWatchManyEvents(t *testing.T) {
	r, m := watched(t, newDomain(t, nil))
	for i := range 150 {
		m.Corrupted(fmt.Sprint("c", i))
		m.Evicted(fmt.Sprint("c", i), "size", 1)
		m.Pulled(fmt.Sprint("c", i), "cache")
	}
	got, err := told(r.admin.WatchEvents(t.Context(), &blobdv1.WatchEventsRequest{Backlog: 1 << 30}))
	if err != nil || len(got) < 300 { // more than one message holds
		t.Errorf("%d events, %v", len(got), err)
	}
}

// Who follows is told at once that it does, then what happens, and at the end that the daemon stops, which does not wait.
func TestFollowEvents(t *testing.T) {
	r, m := watched(t, newDomain(t, nil))
	m.Corrupted("before")
	stream, err := r.admin.WatchEvents(t.Context(), &blobdv1.WatchEventsRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || len(first.Events) != 0 {
		t.Fatalf("%v, %v", first, err)
	}
	for i := range 3 {
		want := fmt.Sprint("c", i)
		m.Corrupted(want)
		msg, err := stream.Recv()
		if err != nil || len(msg.Events) != 1 || msg.Events[0].Cache != want || msg.Events[0].Text == "" || !msg.Events[0].At.IsValid() {
			t.Fatalf("%v, %v", msg, err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- r.server.Shutdown(t.Context()) }()
	_, err = stream.Recv()
	wantStatus(t, "when the daemon stops", err, codes.Unavailable, fault.ShuttingDown)
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A follower that goes leaves nothing behind.
func TestFollowerGoes(t *testing.T) {
	r, _ := watched(t, newDomain(t, nil))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := r.admin.WatchEvents(ctx, &blobdv1.WatchEventsRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestWatchWithoutAMonitor(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	if _, err := told(r.admin.WatchEvents(t.Context(), &blobdv1.WatchEventsRequest{})); err == nil {
		t.Error("it ended well")
	}
	if st, err := r.admin.Status(t.Context(), &blobdv1.StatusRequest{ListArtifacts: true}); err != nil || st.At != nil {
		t.Errorf("%v, %v", st, err)
	}
}

func TestStatusTellsWhatTheMonitorKnows(t *testing.T) {
	d := newDomain(t, nil)
	d.status = pullthrough.Status{Caches: []pullthrough.CacheStatus{{Name: "content"}, {Name: "memory"}}, Artifacts: 7}
	r, m := watched(t, d)
	since := time.Now()
	m.Watch(monitor.Sources{
		Usage: func() (u monitor.Usage) { return },
		Flights: func() []monitor.Flight {
			return []monitor.Flight{{Kind: "tag", What: "r/a:v1", Since: since, Callers: 3}}
		},
		Artifacts: func(context.Context, int) ([]monitor.Artifact, int) {
			return []monitor.Artifact{{
				Reference: "r:5000/a/b@sha256:ab", Tags: []string{"v1"}, Type: "t", Files: 1, Size: 2, Cached: 3, Pinned: true, LastUsed: since,
			}}, 6
		},
	})
	m.CacheRequest("content", "hit")
	m.CacheRequest("content", "miss")
	m.CacheRequest("content", "bypass")
	m.Served("block", 5)
	m.UpstreamBytes("ghcr.io", 9)
	m.UpstreamRequest("ghcr.io", "tag", "2xx", 1)
	m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "down")

	st, err := r.admin.Status(t.Context(), &blobdv1.StatusRequest{ListArtifacts: true})
	if err != nil {
		t.Fatal(err)
	}
	if l := st.Caches[0]; l.Looks.Hits != 1 || l.Looks.Misses != 1 || l.Looks.Other != 1 || l.RecentLooks.Hits != 1 || st.Caches[1].Looks.Hits != 0 {
		t.Errorf("caches: %v", st.Caches)
	}
	if len(st.Served) != 4 || st.Served[2].Source != "block" || st.Served[2].Bytes != 5 || st.UpstreamBytes != 9 {
		t.Errorf("bytes: %v, %d", st.Served, st.UpstreamBytes)
	}
	if n := len(st.History); n == 0 || st.History[n-1].Looks["content"].Hits != 1 || st.History[n-1].UpstreamBytes != 9 ||
		st.History[n-1].ServedBytes != 5 || st.History[n-1].Errors != 1 || !st.History[n-1].Start.IsValid() {
		t.Errorf("history: %v", st.History)
	}
	if f := st.FlightsUnderWay; len(f) != 1 || f[0].Kind != "tag" || f[0].What != "r/a:v1" || f[0].Callers != 3 || !f[0].Since.AsTime().Equal(since) {
		t.Errorf("flights: %v", f)
	}
	if g := st.Registries; len(g) != 2 || g[0].Name != "ghcr.io" || g[0].State != "failing" || g[0].Error != "down" || g[0].RecentBad != 1 ||
		g[0].RecentGood != 1 || g[0].Requests != 1 || g[0].Bytes != 9 || g[1].LastOk != nil || g[1].LastError != nil {
		t.Errorf("registries: %v", g)
	}
	if e := st.Errors; len(e) != 1 || e[0].Kind != "upstream_failure" || e[0].Text != "down" || e[0].Count != 1 {
		t.Errorf("errors: %v", e)
	}
	if a := st.ArtifactsLastUsed; len(a) != 1 || a[0].Registry != "r:5000" || a[0].Repository != "a/b" || a[0].Digest != "sha256:ab" ||
		a[0].Tags[0] != "v1" || !a[0].Pinned || a[0].Cached != 3 || !a[0].LastUsed.AsTime().Equal(since) {
		t.Errorf("artifacts: %v", a)
	}
	if st.Artifacts != 7 || !st.At.IsValid() {
		t.Errorf("%d artifacts at %v", st.Artifacts, st.At)
	}
	if st, err = r.admin.Status(t.Context(), &blobdv1.StatusRequest{}); err != nil || len(st.ArtifactsLastUsed) != 0 {
		t.Errorf("artifacts that nobody asked for: %v, %v", st.ArtifactsLastUsed, err)
	}
}

// Calls that fail by this daemon's fault are told; what callers get wrong is not, nor what registries do.
func TestFailedCallsAreTold(t *testing.T) {
	d := newDomain(t, map[string][]byte{"f": []byte("x")})
	r, m := watched(t, d)
	sub := m.Subscribe(0, time.Time{}, monitor.Failed)
	defer sub.Close()
	for _, tt := range []struct {
		err  error
		told string // reason
	}{
		{errors.New("a bug"), "INTERNAL"},
		{fault.New(fault.DigestMismatch, "wrong bytes"), ""}, // which is told by who fetched them
		{fault.New(fault.LocalOverload, "no memory"), "LOCAL_OVERLOAD"},
		{fault.New(fault.ManifestUnknown, "no such tag"), ""},
		{fault.New(fault.InvalidReference, "what"), ""},
		{fault.New(fault.Upstream5xx, "down"), ""},
		{fault.New(fault.UpstreamRateLimit, "too many"), ""},
	} {
		d.pull = func(context.Context, string, pullthrough.Options) error { return tt.err }
		if _, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: ref}); err == nil {
			t.Fatal("it went well")
		}
		if _, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Reference: ref, Path: "f"}); err == nil {
			t.Fatal("the read went well")
		}
		got := ""
		for _, e := range sub.Take(10) {
			got, _ = e.Reason, e.Text
			if e.Text != tt.err.Error() {
				t.Errorf("%v: told %q", tt.err, e.Text)
			}
		}
		if got != tt.told {
			t.Errorf("%v: told %q, want %q", tt.err, got, tt.told)
		}
	}
}

// A pull is told with where it was answered from; a read that found all in the cache is none.
func TestPullsAreTold(t *testing.T) {
	steps := func(ref, manifest, index string) []pullthrough.Step {
		return []pullthrough.Step{{Step: "ref", Source: ref}, {Step: "manifest", Source: manifest}, {Step: "index", Source: index}}
	}
	for _, tt := range []struct {
		name       string
		steps      []pullthrough.Step
		stale      bool
		pull, read string // the source that is told
	}{
		{"cold", steps("upstream", "upstream", "upstream"), false, "upstream", "upstream"},
		{"an index anew", steps("cache", "memory", "upstream"), false, "upstream", "upstream"},
		{"a tag anew", steps("upstream", "memory", "cache"), false, "checked", ""},
		{"stale", steps("cache", "memory", "memory"), true, "stale", ""},
		{"stale, of a cache", steps("cache", "cache", "cache"), true, "stale", ""},
		{"warm", steps("cache", "cache", "memory"), false, "cache", ""},
		{"derived", steps("cache", "memory", "derived"), false, "cache", ""},
		{"hot", steps("request", "memory", "memory"), false, "memory", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDomain(t, map[string][]byte{"f": []byte("x")})
			d.steps, d.fresh = tt.steps, !tt.stale
			r, m := watched(t, d)
			source := func() string {
				sub := m.Subscribe(10, time.Time{}, monitor.Pulled)
				defer sub.Close()
				got := ""
				for _, e := range sub.Take(10) {
					got += e.Source
					if want := ref + "@" + resolution().Digest.String(); e.Reference != want {
						t.Errorf("told of %s, want %s", e.Reference, want)
					}
				}
				return got
			}
			if _, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Reference: ref, Path: "f"}); err != nil {
				t.Fatal(err)
			}
			if got := source(); got != tt.read {
				t.Errorf("a read: told %q, want %q", got, tt.read)
			}
			if tt.read != "" {
				return // the pull is one of the same sort within the second
			}
			if _, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: ref}); err != nil {
				t.Fatal(err)
			}
			if got := source(); got != tt.pull {
				t.Errorf("a pull: told %q, want %q", got, tt.pull)
			}
		})
	}
}
