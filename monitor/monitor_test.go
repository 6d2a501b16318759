package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/blobd/blobd/monitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is one that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// start makes a monitor at noon.
func start(t testing.TB, registries ...string) (*monitor.Monitor, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)}
	m := monitor.New(monitor.Options{Started: c.at, Version: "v1", PID: 42, Socket: "/s", CacheDir: "/c", Registries: registries, Now: c.now})
	t.Cleanup(m.Close)
	return m, c
}

func cacheOf(t *testing.T, s monitor.Snapshot, name string) monitor.Cache {
	t.Helper()
	i := slices.IndexFunc(s.Caches, func(c monitor.Cache) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no cache %s in %v", name, s.Caches)
	}
	return s.Caches[i]
}

func TestLooks(t *testing.T) {
	m, _ := start(t)
	for _, result := range []string{"hit", "stale", "negative", "miss", "bypass", "error", "hit"} {
		m.CacheRequest("content", result)
	}
	m.CacheRequest("foreign", "hit")
	c := cacheOf(t, m.Brief(), "content")
	if want := (monitor.Looks{Hits: 4, Misses: 1, Other: 2}); c.Looks != want || c.Recent != want {
		t.Errorf("%+v and %+v, want %+v", c.Looks, c.Recent, want)
	}
	if ratio, ok := c.Looks.Ratio(); !ok || ratio != 0.8 {
		t.Errorf("ratio %v, %v", ratio, ok)
	}
	if _, ok := cacheOf(t, m.Brief(), "ref").Looks.Ratio(); ok {
		t.Error("a ratio of no looks")
	}
	if n := len(m.Brief().Caches); n != 6 {
		t.Errorf("%d caches", n)
	}
}

func TestBytes(t *testing.T) {
	m, _ := start(t, "ghcr.io")
	m.Served("block", 3)
	m.Served("block", 4)
	m.Served("foreign", 1)
	m.UpstreamBytes("ghcr.io", 10)
	m.UpstreamBytes("evil.example", 5)
	s := m.Brief()
	if want := []monitor.Served{{"memory", 0}, {"content", 0}, {"block", 7}, {"upstream", 0}}; !slices.Equal(s.Served, want) {
		t.Errorf("served %v", s.Served)
	}
	if s.Upstream != 15 || s.Registries[0].Bytes != 10 || s.Registries[1].Bytes != 5 {
		t.Errorf("upstream %d, %+v", s.Upstream, s.Registries)
	}
}

// A minute has what was counted in it, whether anybody looked or not; recent are this one and four before.
func TestHistory(t *testing.T) {
	m, c := start(t)
	for minute := range 90 {
		m.Brief() // the minute begins when somebody looks, or the timer does, which goes by the machine's clock
		for range minute {
			m.CacheRequest("ref", "hit")
			m.Served("memory", 2)
		}
		if minute%7 == 0 {
			m.CallFailed("INTERNAL", "a bug")
		}
		c.at = c.at.Add(time.Minute)
	}
	c.at = c.at.Add(-time.Second)
	s := m.Brief()
	if len(s.History) != 60 {
		t.Fatalf("%d minutes", len(s.History))
	}
	for i, sample := range s.History {
		minute := 30 + i
		want := monitor.Sample{
			Start: time.Date(2026, 1, 2, 12, minute, 0, 0, time.UTC), Looks: map[string]monitor.Looks{}, Served: int64(2 * minute),
		}
		for _, cache := range s.Caches {
			want.Looks[cache.Name] = monitor.Looks{}
		}
		want.Looks["ref"] = monitor.Looks{Hits: int64(minute)}
		if minute%7 == 0 {
			want.Errors = 1
		}
		if !reflect.DeepEqual(sample, want) {
			t.Errorf("minute %d: %+v, want %+v", minute, sample, want)
		}
	}
	if recent := cacheOf(t, s, "ref").Recent.Hits; recent != 85+86+87+88+89 {
		t.Errorf("%d recent hits", recent)
	}
}

func TestHistoryGoesOnWithoutLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := monitor.New(monitor.Options{})
		defer m.Close()
		for range 3 {
			m.CacheRequest("ref", "hit")
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		var hits []int64
		for _, s := range m.Brief().History {
			hits = append(hits, s.Looks["ref"].Hits)
		}
		if !slices.Equal(hits, []int64{1, 1, 1, 0}) {
			t.Errorf("hits by minute: %v", hits)
		}
	})
}

func TestHistoryWhenTheClockJumps(t *testing.T) {
	for jump, want := range map[time.Duration][]int64{
		3 * time.Minute: {5, 0, 0, 1}, // the machine slept: nothing happened
		2 * time.Hour:   {1},
		-time.Hour:      {1},
	} {
		m, c := start(t, "ghcr.io")
		for range 5 {
			m.CacheRequest("ref", "hit")
		}
		m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "down")
		c.at = c.at.Add(jump)
		m.Brief()
		m.CacheRequest("ref", "hit")
		s := m.Brief()
		var hits []int64
		for _, sample := range s.History {
			hits = append(hits, sample.Looks["ref"].Hits)
		}
		if !slices.Equal(hits, want) {
			t.Errorf("after %v: hits by minute %v, want %v", jump, hits, want)
		}
		if bad := s.Registries[0].RecentBad; (bad == 1) != (jump == 3*time.Minute) {
			t.Errorf("after %v: %d recent failures", jump, bad)
		}
	}
}

func TestRegistries(t *testing.T) {
	tests := []struct {
		name string
		do   func(m *monitor.Monitor, pass func(time.Duration))
		want string // state of ghcr.io, good and bad
	}{
		{"unused", func(*monitor.Monitor, func(time.Duration)) {}, "unused 0 0"},
		{"answers", func(m *monitor.Monitor, _ func(time.Duration)) {
			for _, code := range []string{"2xx", "404", "401"} {
				m.UpstreamRequest("ghcr.io", "tag", code, 1)
			}
			m.UpstreamRequest("ghcr.io", "token", "2xx", 1)
		}, "ok 2 0"},
		{"fails", func(m *monitor.Monitor, pass func(time.Duration)) {
			m.UpstreamRequest("ghcr.io", "tag", "2xx", 1)
			pass(time.Second)
			m.UpstreamRequest("ghcr.io", "tag", "5xx", 1)
			m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "down")
		}, "failing 1 1"},
		{"is back", func(m *monitor.Monitor, pass func(time.Duration)) {
			m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "down")
			pass(time.Second)
			m.UpstreamRequest("ghcr.io", "blob", "2xx", 1)
		}, "ok 1 1"},
		{"was down long ago", func(m *monitor.Monitor, pass func(time.Duration)) {
			m.UpstreamFailed("ghcr.io", "UPSTREAM_UNREACHABLE", "down")
			pass(time.Hour)
		}, "failing 0 0"},
		{"refuses one, serves others", func(m *monitor.Monitor, pass func(time.Duration)) {
			m.UpstreamRequest("ghcr.io", "blob", "2xx", 1)
			pass(time.Second)
			m.UpstreamFailed("ghcr.io", "UPSTREAM_FORBIDDEN", "no")
		}, "ok 1 1"},
		{"refuses all", func(m *monitor.Monitor, _ func(time.Duration)) {
			m.UpstreamRequest("ghcr.io", "token", "2xx", 1)
			m.UpstreamFailed("ghcr.io", "UPSTREAM_UNAUTHORIZED", "no")
		}, "failing 0 1"},
		{"another's", func(m *monitor.Monitor, _ func(time.Duration)) {
			m.UpstreamRequest("evil.example", "tag", "2xx", 1)
			m.UpstreamFailed("evil.example", "UPSTREAM_5XX", "down")
		}, "unused 0 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, c := start(t, "ghcr.io")
			tt.do(m, func(d time.Duration) {
				c.at = c.at.Add(d)
				m.Brief()
			})
			s := m.Brief()
			if len(s.Registries) != 2 || s.Registries[0].Name != "ghcr.io" || s.Registries[1].Name != "other" {
				t.Fatalf("%+v", s.Registries)
			}
			r := s.Registries[0]
			if got := fmt.Sprint(r.State, " ", r.RecentGood, " ", r.RecentBad); got != tt.want {
				t.Errorf("got %s, want %s: %+v", got, tt.want, r)
			}
		})
	}
}

// What one host does says nothing of another that is not configured, for long; what is answered with something that blobd
// refuses is answered.
func TestOtherRegistries(t *testing.T) {
	m, c := start(t, "ghcr.io")
	m.UpstreamFailed("typo.example", "UPSTREAM_DNS", "no such host")
	if s := m.Brief(); s.Registries[1].State != "failing" {
		t.Errorf("%+v", s.Registries[1])
	}
	for range 6 {
		c.at = c.at.Add(time.Minute)
		m.Brief()
	}
	if s := m.Brief(); s.Registries[1].State == "failing" {
		t.Errorf("%+v", s.Registries[1])
	}
	m.UpstreamRequest("ghcr.io", "manifest", "2xx", 1)
	m.UpstreamFailed("ghcr.io", "TOO_LARGE", "the manifest has 5 MiB")
	if s := m.Brief(); s.Registries[0].State != "ok" {
		t.Errorf("%+v", s.Registries[0])
	}
}

// A reload may name other registries: those that stay keep what was seen, and no byte is lost of all together.
func TestSetRegistries(t *testing.T) {
	m, _ := start(t, "a.example", "b.example")
	m.UpstreamBytes("a.example", 1)
	m.UpstreamBytes("b.example", 2)
	m.UpstreamFailed("a.example", "UPSTREAM_5XX", "down")
	m.SetRegistries([]string{"a.example", "c.example"})
	m.UpstreamBytes("b.example", 4)
	s := m.Brief()
	var got []string
	for _, r := range s.Registries {
		got = append(got, fmt.Sprint(r.Name, " ", r.State, " ", r.Bytes))
	}
	if want := []string{"a.example failing 1", "c.example unused 0", "other unused 6"}; !slices.Equal(got, want) || s.Upstream != 7 {
		t.Errorf("%q, want %q; %d bytes", got, want, s.Upstream)
	}
}

func TestSources(t *testing.T) {
	m, _ := start(t)
	if s := m.Snapshot(t.Context()); len(s.Artifacts) != 0 || s.Bytes != 0 || s.Version != "v1" || s.PID != 42 {
		t.Errorf("before there is a store: %+v", s)
	}
	asked := 0
	m.Watch(monitor.Sources{
		Usage: func() monitor.Usage {
			return monitor.Usage{
				Bytes: 1, Limit: 2, DiskFree: 3, MinFree: 4, Scanning: true, Problems: []string{"full"},
				Caches: []monitor.Cache{{Name: "content", Dir: "/c/content", Enabled: true, Bytes: 5, Limit: 6, Entries: 7}},
			}
		},
		Flights: func() []monitor.Flight { return make([]monitor.Flight, 1000) },
		Artifacts: func(_ context.Context, most int) ([]monitor.Artifact, int) {
			asked++
			return make([]monitor.Artifact, most), 5
		},
	})
	m.CacheRequest("content", "hit")
	s := m.Snapshot(t.Context())
	s.Artifacts[0].Reference = "changed"
	s = m.Snapshot(t.Context())
	if s.Bytes != 1 || s.Limit != 2 || s.DiskFree != 3 || s.MinFree != 4 || !s.Scanning || len(s.Problems) != 1 {
		t.Errorf("%+v", s)
	}
	want := monitor.Cache{
		Name: "content", Dir: "/c/content", Enabled: true, Bytes: 5, Limit: 6, Entries: 7,
		Looks: monitor.Looks{Hits: 1}, Recent: monitor.Looks{Hits: 1},
	}
	if c := cacheOf(t, s, "content"); c != want {
		t.Errorf("%+v", c)
	}
	if len(s.Flights) != monitor.MaxFlights || len(s.Artifacts) != monitor.MaxArtifacts || s.More != 5 {
		t.Errorf("%d flights, %d artifacts and %d more", len(s.Flights), len(s.Artifacts), s.More)
	}
	if asked != 1 || s.Artifacts[0].Reference != "" {
		t.Errorf("artifacts were listed %d times for two looks; the first is %q", asked, s.Artifacts[0].Reference)
	}
}

// A list of artifacts that takes long is made seldom, however many look.
func TestArtifactsAreListedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := monitor.New(monitor.Options{})
		defer m.Close()
		asked := 0
		m.Watch(monitor.Sources{
			Usage: func() (u monitor.Usage) { return }, Flights: func() []monitor.Flight { return nil },
			Artifacts: func(ctx context.Context, _ int) ([]monitor.Artifact, int) {
				asked++
				time.Sleep(time.Second)
				return make([]monitor.Artifact, asked), 0
			},
		})
		for began := time.Now(); time.Since(began) < 100*time.Second; time.Sleep(100 * time.Millisecond) {
			m.Snapshot(t.Context())
		}
		if asked < 4 || asked > 6 {
			t.Errorf("listed %d times in 100 s, at 1 s each", asked)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(time.Minute)
		if s := m.Snapshot(gone); len(s.Artifacts) != asked {
			t.Errorf("who has gone gets %d artifacts, not those known", len(s.Artifacts))
		}
	})
}

// Who has little time is not held up by somebody who has much, and a list that nobody had time for is not begun again and
// again.
func TestArtifactsInLittleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := monitor.New(monitor.Options{})
		defer m.Close()
		asked := 0
		m.Watch(monitor.Sources{
			Usage: func() (u monitor.Usage) { return }, Flights: func() []monitor.Flight { return nil },
			Artifacts: func(ctx context.Context, _ int) (list []monitor.Artifact, more int) {
				asked++
				for range 10 {
					select {
					case <-time.After(time.Second):
						list = append(list, monitor.Artifact{})
					case <-ctx.Done():
						return list, 0
					}
				}
				return list, 0
			},
		})
		look := func(limit time.Duration) int {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			s := m.Snapshot(ctx)
			if took := time.Since(began); took > limit {
				t.Errorf("it took %s of %s", took, limit)
			}
			return len(s.Artifacts)
		}
		if n := look(4500 * time.Millisecond); n != 4 {
			t.Errorf("%d artifacts in the time of four", n)
		}
		if n := look(time.Second); n != 4 || asked != 1 {
			t.Errorf("again: %d artifacts, listed %d times", n, asked)
		}
		time.Sleep(5 * time.Minute)
		go look(time.Minute)
		synctest.Wait()
		if n := look(time.Second); n != 4 || asked != 2 {
			t.Errorf("beside another: %d artifacts, listed %d times", n, asked)
		}
		time.Sleep(time.Minute)
		if n := look(time.Second); n != 10 || asked != 2 {
			t.Errorf("afterwards: %d artifacts, listed %d times", n, asked)
		}
	})
}

// What readers of hot files tell must cost nothing: it is told at each read.
func TestHotPathAllocatesNothing(t *testing.T) {
	m, _ := start(t, "ghcr.io")
	for name, do := range map[string]func(){
		"CacheRequest":    func() { m.CacheRequest("content", "hit") },
		"Served":          func() { m.Served("content", 1) },
		"UpstreamBytes":   func() { m.UpstreamBytes("ghcr.io", 1) },
		"UpstreamRequest": func() { m.UpstreamRequest("ghcr.io", "range", "2xx", 1) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// Thousands of hostile callers leave no more behind than a few.
func TestAllIsBounded(t *testing.T) {
	m, c := start(t, "ghcr.io")
	for i := range 20_000 {
		name := fmt.Sprintf("evil%d.example/%s:v1", i, strings.Repeat("x", 1000))
		m.Pulled(name, "upstream")
		m.UpstreamRequest(name, "tag", "5xx", 1)
		m.UpstreamFailed(name, "UPSTREAM_5XX", name+" \x1b[31m is down")
		m.CallFailed("INTERNAL", name)
		if i%200 == 0 {
			c.at = c.at.Add(time.Second)
		}
	}
	s := m.Brief()
	if len(s.Registries) != 2 || len(s.Errors) > monitor.MaxErrors {
		t.Errorf("%d registries, %d errors", len(s.Registries), len(s.Errors))
	}
	sub := m.Subscribe(1<<30, time.Time{})
	defer sub.Close()
	events := sub.Take(1 << 30)
	if most := 200 * len(monitor.Kinds()); len(events) > most {
		t.Errorf("%d events are kept, more than %d", len(events), most)
	}
	for _, e := range append(events, s.Errors...) {
		if len(e.Text) > 700 || len(e.Reference) > 700 || strings.ContainsRune(e.Text, '\x1b') {
			t.Fatalf("an event of %d bytes: %q", len(e.Text), e.Text)
		}
	}
	if s.Registries[1].Requests != 20_000 {
		t.Errorf("%+v", s.Registries[1])
	}
}

// Everybody tells and looks at once, for the race detector.
func TestConcurrent(t *testing.T) {
	m := monitor.New(monitor.Options{Registries: []string{"ghcr.io"}})
	defer m.Close()
	m.Watch(monitor.Sources{
		Usage: func() (u monitor.Usage) { return }, Flights: func() []monitor.Flight { return nil },
		Artifacts: func(context.Context, int) ([]monitor.Artifact, int) { return nil, 0 },
	})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 200 {
				m.CacheRequest("ref", "hit")
				m.Served("block", 1)
				m.UpstreamRequest("ghcr.io", "tag", "2xx", 1)
				m.UpstreamBytes("ghcr.io", 1)
				m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "down")
				m.Evicted("content", "size", 1)
				m.Corrupted("block")
				m.Degraded(errors.New("full"))
				m.Pulled(fmt.Sprint("r/a:", i), "cache")
				m.CallFailed("INTERNAL", "bug")
			}
		})
		all.Go(func() {
			sub := m.Subscribe(10, time.Time{})
			defer sub.Close()
			for range 50 {
				m.Snapshot(t.Context())
				sub.Take(5)
				m.SetRegistries([]string{"ghcr.io", fmt.Sprint(i)})
			}
		})
	}
	all.Wait()
	if hits := cacheOf(t, m.Brief(), "ref").Looks.Hits; hits != 1600 {
		t.Errorf("%d hits", hits)
	}
}
