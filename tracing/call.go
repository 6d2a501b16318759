package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/blobd/blobd/internal/oci"
)

// Server makes the spans of gRPC calls, in the trace that the caller named. Calls of other services, which are probes and
// tools, make none.
func (t *Tracing) Server() stats.Handler {
	return calls{otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelgrpc.WithPropagators(t.propagator), otelgrpc.WithFilter(ours),
	)}
}

// ours reports whether a call is one of our services'.
func ours(info *stats.RPCTagInfo) bool { return strings.HasPrefix(info.FullMethodName, "/blobd.v1.") }

// calls adds to what OpenTelemetry's handler says of a call what it is about, and takes the words out of its error.
type calls struct{ stats.Handler }

// HandleRPC implements stats.Handler.
func (c calls) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		switch now := s.(type) {
		case *stats.InPayload:
			about(span, now.Payload)
		case *stats.End:
			if now.Error != nil {
				plain := *now
				plain.Error = status.Error(status.Code(now.Error), reasonIn(now.Error))
				s = &plain
			}
		}
	}
	c.Handler.HandleRPC(ctx, s)
}

// about says what a request asks for. What can't be a reference or an address is left out: it could be anything.
func about(span trace.Span, request any) {
	if r, ok := request.(interface{ GetReference() string }); ok {
		if ref, err := oci.ParseReference(r.GetReference()); err == nil {
			span.SetAttributes(attribute.String("blobd.what", ref.String()))
		}
	}
	if r, ok := request.(interface{ GetUrl() string }); ok {
		if u, err := oci.ParseAddress(r.GetUrl()); err == nil {
			span.SetAttributes(attribute.String("blobd.what", oci.AddressName(u)))
		}
	}
	if r, ok := request.(interface{ GetPath() string }); ok {
		span.SetAttributes(attribute.String("blobd.path", r.GetPath()))
	}
}

func reasonIn(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}
