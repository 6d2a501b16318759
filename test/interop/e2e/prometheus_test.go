package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/testneed"
)

// prometheus is a real one, on loopback and in a folder of its own, that has the scrape configuration and the rules of
// deploy/prometheus.
type prometheus struct {
	t    *testing.T
	addr string
}

// startPrometheus starts one that scrapes target. It is killed at the end of the test.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	binary := testneed.Command(t, "prometheus", "Debian package prometheus")
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yml", "recording.yml", "alerts.yml"} {
		text, err := os.ReadFile(filepath.Join(rulesDir, name))
		if err != nil {
			t.Fatal(err)
		}
		// The same configuration, but for whom it scrapes, and faster: a test does not wait for minutes.
		const example, interval = "127.0.0.1:9465", "_interval: 15s"
		if name == "prometheus.yml" && (strings.Count(string(text), example) != 1 || strings.Count(string(text), interval) != 2) {
			t.Fatalf("%s is not as this test knows it", name)
		}
		faster := strings.NewReplacer(example, target, interval, "_interval: 1s").Replace(string(text))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(faster), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t: t, addr: listener.Addr().String()}
	_ = listener.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.addr)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("Prometheus' log, %v:\n%s", err, text[max(0, len(text)-8<<10):])
		}
	})
	return p
}

// point is one answer to an instant query.
type point struct {
	labels map[string]string
	at     string // seconds since 1970
	value  float64
}

// query asks for the value of an expression, at a time or, with "", now.
func (p *prometheus) query(expr, at string) ([]point, error) {
	form := url.Values{"query": {expr}}
	if at != "" {
		form.Set("time", at)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.addr+"/api/v1/query?"+form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any // seconds, and the value as text
			}
		}
	}
	decoder := json.NewDecoder(res.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil || answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s %s %w", expr, answer.Status, answer.Error, err)
	}
	var points []point
	for _, r := range answer.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		points = append(points, point{labels: r.Metric, at: fmt.Sprint(r.Value[0]), value: value})
	}
	return points, nil
}

// is waits until an expression has one value, which ok accepts.
func (p *prometheus) is(expr string, ok func(float64) bool) {
	p.t.Helper()
	eventually(p.t, expr, func() bool {
		points, err := p.query(expr, "")
		return err == nil && len(points) == 1 && ok(points[0].value)
	})
}

func exactly(want float64) func(float64) bool {
	return func(got float64) bool { return math.Abs(got-want) < 1e-9 }
}

// TestPrometheus has a real Prometheus scrape a real daemon: it is up, the hit ratio is what was read, the recording rules
// and the dashboard have answers, and trouble brings the alert that is there for it, which has not come before.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{config: "ttl: {default: 1ms}\n"})
	target := w.HTTPAddr()
	p := startPrometheus(t, target)
	p.is(`up{job="blobd"}`, exactly(1))
	p.is(`blobd_ready`, exactly(1))

	// Of four looks for the content of a file, the first finds nothing.
	f := file("f", 1, 100_000)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	for range 4 {
		w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
	}
	p.is(`blobd_cache_requests_total{cache="content",result="hit"} / ignoring (result)
		(blobd_cache_requests_total{cache="content",result="hit"} + ignoring (result) blobd_cache_requests_total{cache="content",result="miss"})`,
		exactly(.75))

	for _, r := range rules(t) {
		if r.Record != "" && !strings.Contains(r.Record, "1d") {
			p.agrees(r.Record, r.Expr)
		}
	}
	p.is(`instance_cache:blobd_cache_hits:ratio_rate5m{cache="content",instance="`+target+`"}`, func(v float64) bool { return v > 0 && v < 1 })
	p.is(`instance:blobd_served_bytes:rate5m`, func(v float64) bool { return v > 0 })

	p.shows(readDashboard(t))

	alert := func(name, state, labels string) {
		t.Helper()
		p.is(fmt.Sprintf(`ALERTS{alertname=%q,alertstate=%q,instance=%q%s}`, name, state, target, labels), exactly(1))
	}
	if quiet, err := p.query("ALERTS", ""); err != nil || len(quiet) > 0 {
		t.Errorf("before there is trouble: %v, %v", quiet, err)
	}
	w.reg.Stop()
	w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
	alert("BlobdServingStale", "pending", `,severity="warning"`)
	for _, name := range everyFile(t, filepath.Join(w.Cache(), "content")) {
		if err := flip(name, .5); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.Run(t.Context(), "cache", "verify"); r.Exit != 5 {
		t.Errorf("verify: %+v", r)
	}
	alert("BlobdCorruptEntries", "firing", `,cache="content"`)
	w.stop()
	p.is(`up{job="blobd"}`, exactly(0))
	alert("BlobdDown", "pending", `,severity="critical"`)
}

// agrees waits until the rule's last value is what its expression comes to at that time: a scrape that was not in yet when the
// rule was evaluated can be the difference once, not for ever.
func (p *prometheus) agrees(record, expr string) {
	p.t.Helper()
	var last string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("last: %s", last)
		}
	}()
	eventually(p.t, record+" says what its expression does", func() bool {
		recorded, err := p.query("timestamp("+record+")", "")
		if err != nil || len(recorded) == 0 {
			last = fmt.Sprint(recorded, err)
			return false
		}
		at := strconv.FormatFloat(recorded[0].value, 'f', 3, 64)
		left, err1 := p.query(record, at)
		right, err2 := p.query(expr, at)
		last = fmt.Sprint(left, right, err1, err2)
		if err1 != nil || err2 != nil || len(left) != len(right) {
			return false
		}
		for _, l := range left {
			delete(l.labels, "__name__")
			same := func(r point) bool { return fmt.Sprint(l.labels) == fmt.Sprint(r.labels) && exactly(l.value)(r.value) }
			if !slices.ContainsFunc(right, same) {
				return false
			}
		}
		return true
	})
}

// shows has every panel of the dashboard answered, with something where the query does not leave out what is as it should be.
func (p *prometheus) shows(d dashboard) {
	p.t.Helper()
	mayBeEmpty := regexp.MustCompile(`> 0$|< 2\^62\)$`)
	all := strings.NewReplacer("$job", ".+", "$instance", ".+")
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			points, err := p.query(all.Replace(grafana.Replace(target.Expr)), "")
			if err != nil || len(points) == 0 && !mayBeEmpty.MatchString(target.Expr) {
				p.t.Errorf("%s: %s: %d points, %v", panel.Title, target.Expr, len(points), err)
			}
		}
	}
}
