package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// How a span is linked to a flight's, and back: the value of the link's attribute.
const (
	linkKey = "blobd.link"
	began   = "began"
	joined  = "joined"
)

// Flight begins the span of a flight, and returns the context of what the flight does: base, with that span. A flight
// belongs to none of its callers, so its span has no parent; it is linked with that of the caller who began it, both ways,
// and kept when that one is. land ends it.
func (t *Tracing) Flight(base, caller context.Context, kind, what string) (ctx context.Context, land func(error)) {
	by := trace.SpanFromContext(caller)
	var links []trace.Link
	if by.SpanContext().IsValid() {
		links = []trace.Link{link(by, began)}
	}
	ctx, span := t.tracer.Start(base, "flight "+kind, trace.WithLinks(links...))
	if !span.IsRecording() {
		return ctx, func(error) {}
	}
	span.SetAttributes(attribute.String("blobd.flight", kind), attribute.String("blobd.what", what))
	by.AddLink(link(span, began))
	return ctx, func(err error) {
		failed(span, err)
		span.End()
	}
}

// Joined links caller's span with that of the flight whose context it is, both ways.
func (t *Tracing) Joined(caller, flight context.Context) {
	by, span := trace.SpanFromContext(caller), trace.SpanFromContext(flight)
	if by.SpanContext().IsSampled() && span.SpanContext().IsSampled() {
		by.AddLink(link(span, joined))
		span.AddLink(link(by, joined))
	}
}

func link(to trace.Span, how string) trace.Link {
	return trace.Link{SpanContext: to.SpanContext(), Attributes: []attribute.KeyValue{attribute.String(linkKey, how)}}
}
