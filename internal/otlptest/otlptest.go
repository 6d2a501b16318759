// Package otlptest is a collector of traces for tests: it takes spans as every collector does, by OTLP over gRPC and over
// HTTP, and keeps them.
package otlptest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Collector takes spans until the test ends. Its methods are safe for concurrent use.
type Collector struct {
	collector.UnimplementedTraceServiceServer
	GRPC, HTTP string // endpoints

	mu      sync.Mutex // guards what follows
	spans   []*Span
	headers http.Header   // of all batches
	grown   chan struct{} // closed when the next batch has come
	raw     strings.Builder
}

// Span is one that came, in words.
type Span struct {
	Name, Trace, ID, Parent string // the last three in hex; Parent is "" for a root
	Kind                    string // as SPAN_KIND_CLIENT
	Failed                  string // why, "" where it did not
	Attributes              map[string]string
	Links                   []Link
	Resource                map[string]string
	Began, Ended            time.Time
}

// Link is one of a span, to another.
type Link struct{ Trace, ID, How string }

// To reports whether s is linked to other, in that way.
func (s *Span) To(other *Span, how string) bool {
	for _, l := range s.Links {
		if l == (Link{other.Trace, other.ID, how}) {
			return true
		}
	}
	return false
}

// New starts a collector.
func New(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{headers: http.Header{}, grown: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, c)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	h := httptest.NewServer(c)
	t.Cleanup(h.Close)
	c.GRPC, c.HTTP = "http://"+l.Addr().String(), h.URL
	return c
}

// Export implements the service.
func (c *Collector) Export(
	ctx context.Context, req *collector.ExportTraceServiceRequest,
) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	headers := http.Header{}
	for name, values := range md {
		headers[http.CanonicalHeaderKey(name)] = values
	}
	c.take(headers, req)
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP takes what comes over HTTP.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprintf("%s: %v", r.URL.Path, err), http.StatusBadRequest)
		return
	}
	c.take(r.Header, &req)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *Collector) take(headers http.Header, req *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, values := range headers {
		c.headers[name] = append(c.headers[name], values...)
	}
	c.raw.WriteString(prototext.Format(req))
	for _, r := range req.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, span := range s.Spans {
				c.spans = append(c.spans, spanOf(span, words(r.Resource.GetAttributes())))
			}
		}
	}
	close(c.grown)
	c.grown = make(chan struct{})
}

func spanOf(s *tracepb.Span, resource map[string]string) *Span {
	span := &Span{
		Name: s.Name, Trace: hex(s.TraceId), ID: hex(s.SpanId), Parent: hex(s.ParentSpanId), Kind: s.Kind.String(),
		Attributes: words(s.Attributes), Resource: resource,
		Began: time.Unix(0, int64(s.StartTimeUnixNano)), Ended: time.Unix(0, int64(s.EndTimeUnixNano)),
	}
	if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		span.Failed = s.Status.Message
	}
	for _, l := range s.Links {
		span.Links = append(span.Links, Link{hex(l.TraceId), hex(l.SpanId), words(l.Attributes)["blobd.link"]})
	}
	return span
}

func hex(id []byte) string { return fmt.Sprintf("%x", id) }

func words(attributes []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attributes {
		switch v := a.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			out[a.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[a.Key] = fmt.Sprint(v.IntValue)
		default:
			out[a.Key] = a.Value.String()
		}
	}
	return out
}

// Spans are those that have come.
func (c *Collector) Spans() []*Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Span(nil), c.spans...)
}

// Headers are those of all batches that have come.
func (c *Collector) Headers() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers.Clone()
}

// Raw is all that has come, as text.
func (c *Collector) Raw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.String()
}

// Await waits until ok accepts the spans that have come, and returns them.
func (c *Collector) Await(t testing.TB, what string, ok func([]*Span) bool) []*Span {
	t.Helper()
	limit := time.After(time.Minute) // tells stuck from slow
	for {
		c.mu.Lock()
		spans, grown := append([]*Span(nil), c.spans...), c.grown
		c.mu.Unlock()
		if ok(spans) {
			return spans
		}
		select {
		case <-grown:
		case <-limit:
			t.Fatalf("no %s among %d spans:\n%s", what, len(spans), List(spans))
		}
	}
}

// List is spans in words, one a line.
func List(spans []*Span) string {
	var b strings.Builder
	for _, s := range spans {
		fmt.Fprintf(&b, "%s/%s < %s %s %s failed=%q %v links %v\n", s.Trace[:8], s.ID, s.Parent, s.Kind, s.Name, s.Failed, s.Attributes, s.Links)
	}
	return b.String()
}
