package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/otlptest"
	"github.com/blobd/blobd/internal/registrytest"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c" // a CI job's trace, and its span that runs the command
	jobID   = "b7ad6b7169203331"
	// jobTraces is what such a job has in its environment.
	jobTraces = "TRACEPARENT=00-" + traceID + "-" + jobID + "-01"
	secret    = "canary-7d2f90"
)

// tracedWorld is a world whose registry wants a login and whose daemon is traced; more is more configuration.
func tracedWorld(t *testing.T, c *otlptest.Collector, tracing, more string) *world {
	t.Helper()
	w := &world{
		t: t, reg: registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken, Username: "robot", Password: secret}),
		Host: newHost(t, setup{}),
	}
	logins, headers := filepath.Join(w.Dir, "logins.yaml"), filepath.Join(w.Dir, "headers.yaml")
	for file, text := range map[string]string{
		logins: "robot: {username: robot, password: " + secret + "}\n", headers: "x-scope: team-a\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.Config = fmt.Sprintf("tracing: {endpoint: %q, headers_file: %q%s}\ncredentials: {file: %q, docker: false, spin: false}\n"+
		"registries: {%q: {credential: robot}}\n%s", c.GRPC, headers, tracing, logins, w.reg.Host(), more)
	w.start()
	return w
}

// find returns the spans that ok picks.
func find(spans []*otlptest.Span, ok func(*otlptest.Span) bool) (found []*otlptest.Span) {
	for _, s := range spans {
		if ok(s) {
			found = append(found, s)
		}
	}
	return found
}

func hasName(name string) func(*otlptest.Span) bool {
	return func(s *otlptest.Span) bool { return s.Name == name }
}

// TestTraceOfAColdRead: what a command of a CI job has the daemon do is in the job's trace, each flight of it is linked
// with who began it, and below each is what was asked upstream. No secret is in any span, and no registry is told.
func TestTraceOfAColdRead(t *testing.T) {
	c := otlptest.New(t)
	site := newFileSite(t, []byte("by address"))
	w := tracedWorld(t, c, "", site.config())
	w.Env = []string{jobTraces}
	f := file("f", 1, 300_000)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, f)
	w.reads(content(f), "cat", w.ref("acme/app:v1"), "f")
	w.run("fetch", site.URL+"/lib?key="+secret, "--digest", sha([]byte("by address")))
	copied := filepath.Join(w.Dir, "copied")
	for _, args := range [][]string{
		{"pull", w.ref("acme/app:v1")}, {"ls", "-R", w.ref("acme/app:v1")}, {"stat", w.ref("acme/app:v1"), "f"},
		{"cp", w.ref("acme/app:v1") + ":/f", copied}, {"manifest", w.ref("acme/app:v1")}, {"prefetch", w.ref("acme/app:v1")},
		{"pin", w.ref("acme/app:v1")}, {"cache", "ls"}, {"status"},
	} {
		w.run(args...)
	}
	w.Run(t.Context(), "pull", "https://robot:"+secret+"@"+w.ref("acme/app:v1")) // a mistake
	told := slices.ContainsFunc(w.reg.Requests(), func(r registrytest.Request) bool { return r.Trace != "" })
	w.stop() // which sends the rest

	spans := c.Spans()
	byID := map[string]*otlptest.Span{}
	for _, s := range spans {
		byID[s.ID] = s
	}
	for _, call := range []string{"Pull", "ReadFile", "FetchURL"} {
		got := find(spans, hasName("blobd.v1.BlobdService/"+call))
		if len(got) == 0 || got[0].Kind != "SPAN_KIND_SERVER" {
			t.Errorf("the call of %s: %s", call, otlptest.List(got))
		}
	}
	for _, s := range find(spans, func(s *otlptest.Span) bool { return s.Kind == "SPAN_KIND_SERVER" }) {
		if s.Trace != traceID || s.Parent != jobID || s.Failed != "" {
			t.Errorf("%s is not in the job's trace, or failed: %q", s.Name, s.Failed)
		}
	}
	// kind of flight → what it asks, and how often
	for kind, asks := range map[string]map[string]int{
		"tag": {"HEAD tag": 2, "GET token": 1}, "manifest": {"GET manifest": 1}, "index": {"GET blob": 1}, "blocks": {"GET range": 1},
	} {
		flights := find(spans, hasName("flight "+kind))
		if len(flights) != 1 {
			t.Errorf("%d flights of kind %s", len(flights), kind)
			continue
		}
		flight := flights[0]
		if flight.Parent != "" || flight.Trace == traceID || flight.Failed != "" || len(flight.Links) != 1 {
			t.Errorf("a flight: %s", otlptest.List(flights))
			continue
		}
		if by := byID[flight.Links[0].ID]; by == nil || !flight.To(by, "began") || !by.To(flight, "began") {
			t.Errorf("the flight of kind %s is not linked with who began it", kind)
		}
		for name, times := range asks {
			got := find(spans, func(s *otlptest.Span) bool { return s.Name == name && s.Parent == flight.ID && s.Trace == flight.Trace })
			if len(got) != times {
				t.Errorf("the flight of kind %s: %d times %s, want %d", kind, len(got), name, times)
			}
			for _, s := range got {
				if s.Kind != "SPAN_KIND_CLIENT" || s.Attributes["blobd.registry"] != w.reg.Host() || s.Failed != "" {
					t.Errorf("a request: %s", otlptest.List(got))
				}
			}
		}
	}
	// What the flight of the blocks was begun by is the flight of the content, and that by the call.
	content := find(spans, func(s *otlptest.Span) bool { return s.Name == "flight content" && len(s.Links) > 1 })
	if len(content) != 1 || !content[0].To(find(spans, hasName("flight blocks"))[0], "began") ||
		!content[0].To(find(spans, hasName("blobd.v1.BlobdService/ReadFile"))[0], "began") {
		t.Errorf("the flight of the content: %s", otlptest.List(content))
	}
	// All requests that the registry saw are there.
	if got := len(find(spans, func(s *otlptest.Span) bool { return s.Attributes["blobd.registry"] == w.reg.Host() })); got != len(w.reg.Requests()) {
		t.Errorf("%d spans of requests, the registry saw:\n%s", got, listed(w.reg.Proxy))
	}
	if got := find(spans, func(s *otlptest.Span) bool { return s.Attributes["server.port"] == port(site.URL) }); len(got) != 1 {
		t.Errorf("the file by address: %s", otlptest.List(got))
	}
	if told {
		t.Error("a registry was told of the trace")
	}
	for _, hidden := range []string{secret, "Bearer", "key=", "team-a"} {
		if strings.Contains(c.Raw(), hidden) {
			t.Errorf("%q is in a span", hidden)
		}
	}
	if got := c.Headers().Get("X-Scope"); got != "team-a" {
		t.Errorf("the collector saw the header %q", got)
	}
	if strings.Contains(w.Log(), secret) {
		t.Error("a secret is in the log")
	}
	if t.Failed() {
		t.Log(otlptest.List(spans))
	}
}

func port(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }

// TestTraceOfJoiners: who joins a flight is linked with it; a registry that may know is told of the flight's trace.
func TestTraceOfJoiners(t *testing.T) {
	c := otlptest.New(t)
	w := tracedWorld(t, c, "", "")
	w.restart(strings.Replace(w.Config, "headers_file", fmt.Sprintf("propagate_to: [%q], headers_file", w.reg.Host()), 1))
	f := file("f", 1, 300_000)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, f)
	const readers = 5
	w.reg.HoldAfter(0)
	for i, r := range w.atOnce(readers, func(int) []string { return []string{"cat", w.ref("acme/app:v1"), "f"} }, "Pull", w.reg.Release) {
		if r.Exit != 0 {
			t.Errorf("reader %d: %s", i, r.Stderr)
		}
	}
	joins := int(w.metric("blobd_flight_joins_total"))
	requests := w.reg.Requests()
	w.stop()

	spans := c.Spans()
	linked := 0
	for _, s := range spans {
		for _, l := range s.Links {
			if l.How != "joined" || strings.HasPrefix(s.Name, "flight ") {
				continue
			}
			linked++
			flight := find(spans, func(f *otlptest.Span) bool { return f.ID == l.ID })
			if len(flight) != 1 || !flight[0].To(s, "joined") || flight[0].Trace == s.Trace {
				t.Errorf("%s joined %s", s.Name, otlptest.List(flight))
			}
		}
	}
	if joins == 0 || linked != joins {
		t.Errorf("%d calls are linked with flights that they joined, want %d", linked, joins)
	}
	for _, r := range requests {
		parent := strings.Split(r.Trace, "-")
		if len(parent) != 4 || len(find(spans, func(s *otlptest.Span) bool { return s.Trace == parent[1] && s.ID == parent[2] })) != 1 {
			t.Errorf("%s %s came with %q, which is no span", r.Method, r.Path, r.Trace)
		}
	}
}

// TestTraceNothing: with a share of 0 nothing is traced, but for callers who are.
func TestTraceNothing(t *testing.T) {
	c := otlptest.New(t)
	w := tracedWorld(t, c, ", sample: 0", "")
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("f", 1, 1000))
	w.run("pull", w.ref("acme/app:v1"))
	w.Env = []string{strings.TrimSuffix(jobTraces, "01") + "00"} // a job that is not traced
	w.run("pull", w.ref("acme/app:v1"))
	w.Env = []string{"TRACEPARENT=nonsense\n"}
	w.run("pull", w.ref("acme/app:v1"))
	w.restart(w.Config)
	if spans := c.Spans(); len(spans) > 0 {
		t.Errorf("traced:\n%s", otlptest.List(spans))
	}
	w.Env = []string{jobTraces, "TRACESTATE=vendor=x"}
	w.run("pull", "--no-cache", w.ref("acme/app:v1"))
	w.stop()
	if n := len(find(c.Spans(), func(s *otlptest.Span) bool { return s.Trace == traceID })); n != 1 {
		t.Errorf("%d calls of a job that is traced, want 1:\n%s", n, otlptest.List(c.Spans()))
	}
}

// TestTraceWithoutCollector: a collector that is not there costs nobody anything.
func TestTraceWithoutCollector(t *testing.T) {
	w := newWorld(t, setup{config: fmt.Sprintf("tracing: {endpoint: %q}\n", "http://"+freeAddress(t))})
	f := file("f", 1, 300_000)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, f)
	for range 20 {
		w.reads(content(f), "cat", "--no-cache", w.ref("acme/app:v1"), "f")
	}
	if status, _, err := w.Get(t.Context(), "/readyz"); err != nil || status != http.StatusOK {
		t.Errorf("/readyz: %d, %v", status, err)
	}
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the end took %v", took)
	}
	said := strings.Count(w.Log(), `"level":"warn"`)
	if lost := strings.Contains(w.Log(), "the last spans are lost"); !lost || said > 3 {
		t.Errorf("the log complains %d times, of spans that are lost: %v", said, lost)
	}
}
