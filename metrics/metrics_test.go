package metrics_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/metrics"
)

var update = flag.Bool("update", false, "write the golden file anew")

func gather(t *testing.T, m *metrics.Metrics) []*dto.MetricFamily {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// series are blobd's own time series as "name{label=value,…} value".
func series(t *testing.T, m *metrics.Metrics) []string {
	t.Helper()
	var lines []string
	for _, f := range gather(t, m) {
		if !strings.HasPrefix(f.GetName(), "blobd_") {
			continue
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				value := l.GetValue()
				if l.GetName() == "goversion" {
					value = "go"
				}
				labels = append(labels, l.GetName()+"="+value)
			}
			value := s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
			lines = append(lines, fmt.Sprintf("%s{%s} %v", f.GetName(), strings.Join(labels, ","), value))
		}
	}
	slices.Sort(lines)
	return lines
}

func fresh() *metrics.Metrics {
	return metrics.New(metrics.Options{Registries: []string{"ghcr.io"}, Version: "v0", Revision: "abc"})
}

// TestContract holds names, labels and their values to the golden file: all are there, at zero, from the start.
func TestContract(t *testing.T) {
	const golden = "testdata/series.txt"
	got := strings.Join(series(t, fresh()), "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("the series at the start are not those of %s: if that is meant, run with -update, and `make docs`", golden)
	}
}

// TestHelp: a help text is whole sentences, one that says what is counted and one that says what that means.
func TestHelp(t *testing.T) {
	for _, f := range gather(t, fresh()) {
		if help := f.GetHelp(); strings.HasPrefix(f.GetName(), "blobd_") && (len(help) < 60 || !strings.HasSuffix(help, ".")) {
			t.Errorf("%s: %q", f.GetName(), help)
		}
	}
}

func TestLint(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(gather(t, fresh())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestPromtool(t *testing.T) {
	promtool := testneed.Command(t, "promtool", "Debian package prometheus")
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(get(t, fresh().Handler(nil), "/metrics").Body.Bytes())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

var (
	passes = metrics.Check{Name: "store", Ready: func() error { return nil }}
	fails  = metrics.Check{Name: "socket", Ready: func() error { return errors.New("draining") }}
)

// TestCounts: each call moves just the series that it should.
func TestCounts(t *testing.T) {
	tests := []struct {
		name string
		do   func(*metrics.Metrics)
		want []string // lines that were not there before
	}{
		{"cache request", func(m *metrics.Metrics) { m.CacheRequest("ref", "stale") }, []string{"blobd_cache_requests_total{cache=ref,result=stale} 1"}},
		{"foreign cache or result", func(m *metrics.Metrics) { m.CacheRequest("x", "hit"); m.CacheRequest("ref", "x") }, nil},
		{"served", func(m *metrics.Metrics) { m.Served("block", 3); m.Served("block", 4); m.Served("x", 1) },
			[]string{"blobd_served_bytes_total{source=block} 7"}},
		{"flights", func(m *metrics.Metrics) { m.FlightStarted(); m.FlightStarted(); m.FlightEnded(); m.FlightJoined() },
			[]string{"blobd_flight_joins_total{} 1", "blobd_flights{} 1"}},
		{"connections", func(m *metrics.Metrics) {
			m.ConnectionOpened()
			m.ConnectionOpened()
			m.ConnectionClosed()
			m.ConnectionRefused()
		}, []string{"blobd_connections_refused_total{} 1", "blobd_connections{} 1"}},
		{"eviction", func(m *metrics.Metrics) { m.Evicted("indexes", "min_free", 4096); m.Evicted("indexes", "x", 1) },
			[]string{"blobd_cache_evicted_bytes_total{cache=index} 4096", "blobd_cache_evictions_total{cache=index,reason=min_free} 1"}},
		{"corruptions by class", func(m *metrics.Metrics) {
			for _, class := range []string{"refs", "manifests", "indexes", "content", "blocks", "other"} {
				m.Corrupted(class)
			}
		}, []string{
			"blobd_cache_corruptions_total{cache=block} 1", "blobd_cache_corruptions_total{cache=content} 1",
			"blobd_cache_corruptions_total{cache=index} 1", "blobd_cache_corruptions_total{cache=manifest} 1",
			"blobd_cache_corruptions_total{cache=ref} 1",
		}},
		{"problem", func(m *metrics.Metrics) { m.Problem(errors.New("no space left on device")) }, []string{"blobd_cache_degraded{} 1"}},
		{"problem ended", func(m *metrics.Metrics) { m.Problem(errors.New("x")); m.Problem(nil) }, nil},
		{"upstream", func(m *metrics.Metrics) {
			m.UpstreamRequest("ghcr.io", "tag", "200", .1)
			m.UpstreamRequest("evil.example", "range", "206", .1)
			m.UpstreamBytes("ghcr.io", 10)
			m.UpstreamBytes("evil.example", 20)
			m.UpstreamRequest("ghcr.io", "x", "200", .1)
		}, []string{
			"blobd_upstream_bytes_total{registry=ghcr.io} 10", "blobd_upstream_bytes_total{registry=other} 20",
			"blobd_upstream_request_seconds{} 2",
			"blobd_upstream_requests_total{code=2xx,kind=range,registry=other} 1",
			"blobd_upstream_requests_total{code=2xx,kind=tag,registry=ghcr.io} 1",
		}},
		{"codes", func(m *metrics.Metrics) {
			for _, code := range []string{"404", "418", "503", "307", "error", "", "100", "429", "5xx"} {
				m.UpstreamRequest("ghcr.io", "blob", code, 1)
			}
		}, []string{
			"blobd_upstream_request_seconds{} 9",
			"blobd_upstream_requests_total{code=3xx,kind=blob,registry=ghcr.io} 1",
			"blobd_upstream_requests_total{code=404,kind=blob,registry=ghcr.io} 1",
			"blobd_upstream_requests_total{code=429,kind=blob,registry=ghcr.io} 1",
			"blobd_upstream_requests_total{code=4xx,kind=blob,registry=ghcr.io} 1",
			"blobd_upstream_requests_total{code=5xx,kind=blob,registry=ghcr.io} 2",
			"blobd_upstream_requests_total{code=error,kind=blob,registry=ghcr.io} 3",
		}},
		{"caches", func(m *metrics.Metrics) {
			m.WatchCaches(func() metrics.Usage {
				return metrics.Usage{Bytes: 4, Limit: 5, DiskFree: 6, MinFree: 7, Scanning: true, Caches: map[string]metrics.CacheUsage{
					"content": {Bytes: 1, Limit: 2, Entries: 3}, "x": {Bytes: 4},
				}}
			})
		}, []string{
			"blobd_cache_bytes{cache=content} 1", "blobd_cache_entries{cache=content} 3", "blobd_cache_limit_bytes{cache=content} 2",
			"blobd_cache_scanning{} 1", "blobd_disk_free_bytes{} 6", "blobd_disk_min_free_bytes{} 7",
			"blobd_storage_bytes{} 4", "blobd_storage_limit_bytes{} 5",
		}},
		{"stale", func(m *metrics.Metrics) { m.StaleServed() }, []string{"blobd_stale_answers_total{} 1"}},
		{"a refused reload", func(m *metrics.Metrics) { m.Reloaded(errors.New("x")) }, []string{"blobd_config_last_reload_successful{} 0"}},
		{"a good reload", func(m *metrics.Metrics) { m.Reloaded(errors.New("x")); m.Reloaded(nil) }, nil},
		{"ready", func(m *metrics.Metrics) { m.WatchReady([]metrics.Check{passes, passes}) }, []string{"blobd_ready{} 1"}},
		{"not quite ready", func(m *metrics.Metrics) { m.WatchReady([]metrics.Check{passes, fails}) }, nil},
	}
	before := series(t, fresh())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := fresh()
			tt.do(m)
			after := series(t, m)
			if len(after) != len(before) {
				t.Errorf("%d series where there were %d: something was learned at run time", len(after), len(before))
			}
			changed := slices.DeleteFunc(after, func(s string) bool { return slices.Contains(before, s) })
			if !slices.Equal(changed, tt.want) {
				t.Errorf("changed:\n%s\nwant:\n%s", strings.Join(changed, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestSetRegistries(t *testing.T) {
	m := fresh()
	m.UpstreamBytes("ghcr.io", 1)
	m.SetRegistries([]string{"quay.io"})
	if got := series(t, m); !slices.Contains(got, "blobd_upstream_bytes_total{registry=quay.io} 0") {
		t.Error("a new registry does not start at zero")
	}
	m.UpstreamBytes("quay.io", 2)
	m.UpstreamBytes("ghcr.io", 4)
	got := series(t, m)
	for _, want := range []string{"registry=ghcr.io} 1", "registry=quay.io} 2", "registry=other} 4"} {
		if !slices.Contains(got, "blobd_upstream_bytes_total{"+want) {
			t.Errorf("no %s", want)
		}
	}
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestHandler(t *testing.T) {
	down := errors.New("not listening")
	checks := func(socket error) []metrics.Check {
		return []metrics.Check{
			{Name: "store", Ready: func() error { return nil }},
			{Name: "socket", Ready: func() error { return socket }},
		}
	}
	tests := []struct {
		name, path string
		checks     []metrics.Check
		status     int
		body       string // contained
	}{
		{"metrics", "/metrics", nil, 200, `blobd_build_info{goversion=`},
		{"runtime's metrics", "/metrics", nil, 200, "go_goroutines"},
		{"alive", "/livez", checks(down), 200, "ok\n"},
		{"ready", "/readyz", checks(nil), 200, "store: ok\nsocket: ok\n"},
		{"not ready", "/readyz", checks(down), 503, "store: ok\nsocket: not listening\n"},
		{"no profiles", "/debug/pprof/", nil, 404, ""},
		{"nothing else", "/", nil, 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, fresh().Handler(tt.checks), tt.path)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("got %d %.200q, want %d and %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
}
