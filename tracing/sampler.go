package tracing

import (
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// sampler decides about spans without a parent. A flight, which has none, is kept when the call that began it is: a
// trace of that call with half of its flights would tell nothing.
type sampler struct{ share sdk.Sampler }

func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	if len(p.Links) == 0 {
		return s.share.ShouldSample(p)
	}
	decision := sdk.Drop
	for _, l := range p.Links {
		if l.SpanContext.IsSampled() {
			decision = sdk.RecordAndSample
		}
	}
	return sdk.SamplingResult{Decision: decision, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
}

func (s sampler) Description() string { return "Linked{" + s.share.Description() + "}" }
