package tracing

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Request begins the span of a request that goes out for ctx: registry is the host that was asked for, which a redirect
// may have led away from, and kind what is wanted. Where the host that is asked now is to be told of the trace, it sets
// the request's headers; where not, it takes away those of an earlier hop. end is called once, with the answer's status, 0
// where there was none, how many bytes of its body came, and what failed.
func (t *Tracing) Request(ctx context.Context, req *http.Request, registry, kind string) (end func(status int, bytes int64, err error)) {
	ctx, span := t.tracer.Start(ctx, req.Method+" "+kind, trace.WithSpanKind(trace.SpanKindClient))
	for _, name := range t.propagator.Fields() {
		req.Header.Del(name)
	}
	if t.tells(req.URL.Host) {
		t.propagator.Inject(ctx, propagation.HeaderCarrier(req.Header))
	}
	if !span.IsRecording() {
		return func(int, int64, error) {}
	}
	span.SetAttributes(attribute.String("blobd.registry", registry), attribute.String("blobd.upstream", kind),
		semconv.HTTPRequestMethodKey.String(req.Method), semconv.ServerAddress(req.URL.Hostname()))
	if port, err := strconv.Atoi(req.URL.Port()); err == nil {
		span.SetAttributes(semconv.ServerPort(port))
	}
	return func(status int, bytes int64, err error) {
		if status != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(status), semconv.HTTPResponseBodySize(int(bytes)))
		}
		// With a 401 a registry asks who it is, and the login answers: on its own that is no failure.
		if status >= 400 && status != http.StatusUnauthorized {
			span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
			span.SetStatus(codes.Error, strconv.Itoa(status))
		}
		failed(span, err)
		span.End()
	}
}

// tells reports whether a host[:port] is one that may know of traces; an entry without a port names all ports of its host.
func (t *Tracing) tells(host string) bool {
	name := strings.Trim(host, "[]")
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return slices.ContainsFunc(t.propagateTo, func(entry string) bool {
		return strings.EqualFold(entry, host) || strings.EqualFold(strings.Trim(entry, "[]"), name)
	})
}
