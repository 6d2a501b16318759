package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/otlptest"
	"github.com/blobd/blobd/pullthrough"
	"github.com/blobd/blobd/tracing"
)

// What the rooms declare is what this package has.
var (
	_ pullthrough.Tracer = (*tracing.Tracing)(nil)
	_ fetcher.Tracer     = (*tracing.Tracing)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTracing(t *testing.T, o tracing.Options) *tracing.Tracing {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Protocol == "" {
		o.Protocol = tracing.GRPC
	}
	tr, err := tracing.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func end(t *testing.T, tr *tracing.Tracing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Error(err)
	}
}

// named is the one span of that name.
func named(t *testing.T, spans []*otlptest.Span, name string) *otlptest.Span {
	t.Helper()
	i := slices.IndexFunc(spans, func(s *otlptest.Span) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no span %q:\n%s", name, otlptest.List(spans))
	}
	return spans[i]
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// A flight belongs to nobody; it and who began or joined it are linked, both ways; what it asks upstream is below it. Both
// protocols bring it, with the headers that the collector wants.
func TestSpans(t *testing.T) {
	for _, protocol := range []string{tracing.GRPC, tracing.HTTP} {
		t.Run(protocol, func(t *testing.T) {
			c := otlptest.New(t)
			endpoint := c.GRPC
			if protocol == tracing.HTTP {
				endpoint = c.HTTP
			}
			tr := newTracing(t, tracing.Options{
				Endpoint: endpoint, Protocol: protocol, Sample: 1, Version: "v9", Headers: map[string]string{"x-token": "open"},
			})
			first, done1 := tr.Flight(t.Context(), t.Context(), "content", "sha256:aa")
			second, done2 := tr.Flight(t.Context(), t.Context(), "content", "sha256:bb")
			shared, land := tr.Flight(t.Context(), first, "blocks", "sha256:cc")
			tr.Joined(second, shared)
			good := tr.Request(shared, request(t, "https://registry.example:5000/v2/a/blobs/x?sig=canary"), "registry.example:5000", "range")
			good(http.StatusPartialContent, 1000, nil)
			tr.Request(shared, request(t, "https://user:canary@cdn.example/x"), "registry.example:5000", "blob")(http.StatusForbidden, 3, nil)
			tr.Request(shared, request(t, "https://down.example/x"), "down.example", "tag")(0, 0, fault.New(fault.UpstreamTimeout, "canary"))
			land(fmt.Errorf("canary: %w", context.Canceled))
			done1(fault.New(fault.DigestMismatch, "canary"))
			done2(errors.New("canary"))
			end(t, tr)

			spans := c.Spans()
			flight, a, b := named(t, spans, "flight blocks"), spans[0], spans[0]
			for _, s := range spans {
				switch s.Attributes["blobd.what"] {
				case "sha256:aa":
					a = s
				case "sha256:bb":
					b = s
				}
			}
			for _, s := range []*otlptest.Span{flight, a, b} {
				if s.Parent != "" {
					t.Errorf("%s has a parent", s.Name)
				}
			}
			if !flight.To(a, "began") || !a.To(flight, "began") || !flight.To(b, "joined") || !b.To(flight, "joined") {
				t.Errorf("links are missing:\n%s", otlptest.List(spans))
			}
			for name, want := range map[string]struct{ status, failed, host string }{
				"GET range": {"206", "", "registry.example"}, "GET blob": {"403", "403", "cdn.example"}, "GET tag": {"", "UPSTREAM_TIMEOUT", "down.example"},
			} {
				s := named(t, spans, name)
				if s.Parent != flight.ID || s.Trace != flight.Trace || s.Kind != "SPAN_KIND_CLIENT" {
					t.Errorf("%s is not a request of the flight's", name)
				}
				if s.Failed != want.failed || s.Attributes["http.response.status_code"] != want.status || s.Attributes["server.address"] != want.host {
					t.Errorf("%s: failed %q, %v", name, s.Failed, s.Attributes)
				}
			}
			if got := named(t, spans, "GET range").Attributes["http.response.body.size"]; got != "1000" {
				t.Errorf("the body had %s bytes", got)
			}
			if flight.Failed != "canceled" || a.Failed != string(fault.DigestMismatch) || b.Failed != "_OTHER" {
				t.Errorf("failed: %q, %q, %q", flight.Failed, a.Failed, b.Failed)
			}
			if r := flight.Resource; r["service.name"] != "blobd" || r["service.version"] != "v9" || r["service.instance.id"] == "" {
				t.Errorf("the resource is %v", r)
			}
			if got := c.Headers().Get("X-Token"); got != "open" {
				t.Errorf("the collector saw the token %q", got)
			}
			if strings.Contains(c.Raw(), "canary") {
				t.Errorf("a secret came along:\n%s", c.Raw())
			}
		})
	}
}

// The environment names the service, and says more of the resource.
func TestResourceOfTheEnvironment(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "cache")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=blobd-x1")
	c := otlptest.New(t)
	tr := newTracing(t, tracing.Options{Endpoint: c.GRPC, Sample: 1})
	_, land := tr.Flight(t.Context(), t.Context(), "tag", "a/b:c")
	land(nil)
	end(t, tr)
	if r := c.Spans()[0].Resource; r["service.name"] != "cache" || r["k8s.pod.name"] != "blobd-x1" {
		t.Errorf("the resource is %v", r)
	}
}

// What is not kept is not sent: neither the flight, nor what it asks, nor links to it.
func TestSampleNothing(t *testing.T) {
	c := otlptest.New(t)
	tr := newTracing(t, tracing.Options{Endpoint: c.GRPC, Sample: 0, PropagateTo: []string{"a.example"}})
	flight, land := tr.Flight(t.Context(), t.Context(), "tag", "a/b:c")
	req := request(t, "https://a.example/x")
	tr.Request(flight, req, "a.example", "tag")(200, 1, nil)
	land(nil)
	end(t, tr)
	if spans := c.Spans(); len(spans) > 0 {
		t.Errorf("kept:\n%s", otlptest.List(spans))
	}
	if got := req.Header.Get("Traceparent"); !strings.HasSuffix(got, "-00") {
		t.Errorf("the registry is told %q, want that it is not kept", got)
	}
}

// A flight is kept when the call that began it is, whatever the share.
func TestFlightsGoWithTheirCaller(t *testing.T) {
	for sample, flags := range map[float64]trace.TraceFlags{0: trace.FlagsSampled, 1: 0} {
		c := otlptest.New(t)
		tr := newTracing(t, tracing.Options{Endpoint: c.GRPC, Sample: sample})
		caller := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, Remote: true,
		}))
		flight, land := tr.Flight(t.Context(), caller, "tag", "a/b:c")
		tr.Request(flight, request(t, "https://a.example/x"), "a.example", "tag")(200, 1, nil)
		land(nil)
		end(t, tr)
		if want := 2 * int(flags); len(c.Spans()) != want {
			t.Errorf("a share of %v, a caller with flags %v: want %d spans, got\n%s", sample, flags, want, otlptest.List(c.Spans()))
		}
	}
}

// Registries that are named are told of a trace; others are not, and not by a redirect either.
func TestPropagation(t *testing.T) {
	c := otlptest.New(t)
	tr := newTracing(t, tracing.Options{Endpoint: c.GRPC, Sample: 1, PropagateTo: []string{"own.example", "port.example:5000", "::1"}})
	defer end(t, tr)
	flight, land := tr.Flight(t.Context(), t.Context(), "blocks", "sha256:cc")
	defer land(nil)
	for url, told := range map[string]bool{
		"https://own.example/v2/": true, "https://OWN.example:444/v2/": true, "https://port.example:5000/v2/": true,
		"https://port.example/v2/": false, "https://port.example:5001/v2/": false, "https://not-own.example/": false,
		"https://other.example/": false, "http://[::1]:5000/": true, "http://[::1]/": true,
	} {
		req := request(t, url)
		req.Header.Set("Traceparent", "of an earlier hop")
		req.Header.Set("Tracestate", "of an earlier hop")
		tr.Request(flight, req, "x", "blob")(200, 0, nil)
		got := req.Header.Get("Traceparent")
		if (got != "") != told || strings.Contains(got, "hop") || strings.Contains(req.Header.Get("Tracestate"), "hop") {
			t.Errorf("%s is told %q, want %v", url, got, told)
		}
	}
}

// A collector that is not there holds nobody up; the log says so once a minute, and the end comes within its limit.
func TestCollectorIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + l.Addr().String()
	l.Close()
	for _, protocol := range []string{tracing.GRPC, tracing.HTTP} {
		t.Run(protocol, func(t *testing.T) {
			var log bytes.Buffer
			tr := newTracing(t, tracing.Options{
				Endpoint: endpoint, Protocol: protocol, Sample: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			for range 10_000 { // more than can wait
				_, land := tr.Flight(t.Context(), t.Context(), "tag", "a/b:c")
				land(nil)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := tr.Close(ctx); err == nil && !strings.Contains(log.String(), "dropped") { // all tries have failed by then
				t.Error("nothing was said of spans that are lost")
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the end took %v", took)
			}
		})
	}
}

func TestEndpointsThatAreNone(t *testing.T) {
	for _, o := range []tracing.Options{
		{Endpoint: "localhost:4317", Protocol: tracing.GRPC}, {Endpoint: "", Protocol: tracing.HTTP},
		{Endpoint: "unix:///x", Protocol: tracing.GRPC}, {Endpoint: "http://c.example", Protocol: "udp"},
	} {
		if _, err := tracing.New(t.Context(), o); err == nil {
			t.Errorf("%q by %q was taken", o.Endpoint, o.Protocol)
		}
	}
}
