// Package tracing tells an OpenTelemetry collector, by OTLP, what the daemon does: a span for each gRPC call, flight and
// upstream request. The rooms don't know it: they declare what they want to be traced by, and this package has the
// methods.
//
// It promises:
//   - A collector that is slow or down holds nobody up and takes no more memory than queueSize spans; what it does not
//     take is dropped, and when it fails the log says so once a minute.
//   - No span holds a secret: no header, no query, no body, and of an error its reason alone.
//   - Nothing is global: two Tracings in one process know nothing of each other.
package tracing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/blobd/blobd/internal/fault"
)

const (
	// queueSize bounds the spans that wait for the collector: a few MiB. A cold read makes ten, so it is what two hundred
	// of them make before the next batch goes.
	queueSize = 2048
	// batchDelay is how old a span gets before it goes, where there are too few for a whole batch: who looks for a trace
	// just made does not wait for it.
	batchDelay = 2 * time.Second
	// attributeLimit is how many characters of an attribute are kept: references have fewer, and paths, which callers make up,
	// may have 64 KiB. A batch then stays below the 4 MiB that collectors take.
	attributeLimit = 1024
	// exportLimit bounds one batch with all its tries: a collector that restarts takes less.
	exportLimit = 30 * time.Second
)

// Options say where spans go, and which.
type Options struct {
	Endpoint    string            // URL of the collector; http is without TLS
	Protocol    string            // GRPC or HTTP
	Headers     map[string]string // sent with every batch: what the collector wants to see of its clients
	Sample      float64           // the share of traces that are kept, of those that begin here
	PropagateTo []string          // host[:port] of registries that are told in which trace they are asked
	Version     string            // of blobd
	Log         *slog.Logger
}

// Values of Options.Protocol.
const (
	GRPC = "grpc"
	HTTP = "http"
)

// Tracing makes spans and sends them. Its methods are safe for concurrent use.
type Tracing struct {
	provider    *sdk.TracerProvider
	tracer      trace.Tracer
	exporter    *exporter
	propagator  propagation.TraceContext
	propagateTo []string
}

// New returns a Tracing. It fails for an endpoint that can't be one, and does not look whether anybody is there. The rest
// of what the environment's OTEL_EXPORTER_OTLP_… variables say (certificates, timeouts, compression) holds too, and of a
// resource OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
func New(ctx context.Context, o Options) (*Tracing, error) {
	e, err := newExporter(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	// Half of a resource, where the environment's attributes are malformed, is better than none; the log says what is wrong.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		semconv.ServiceName("blobd"), semconv.ServiceVersion(o.Version), semconv.ServiceInstanceID(rand.Text()),
	), resource.WithFromEnv())
	if err != nil {
		o.Log.Warn("some attributes of the environment are left out", slog.Any("error", err))
	}
	limits := sdk.NewSpanLimits()
	if limits.AttributeValueLengthLimit < 0 { // which is no limit
		limits.AttributeValueLengthLimit = attributeLimit
	}
	provider := sdk.NewTracerProvider(
		sdk.WithRawSpanLimits(limits),
		sdk.WithResource(about),
		sdk.WithSampler(sdk.ParentBased(sampler{sdk.TraceIDRatioBased(o.Sample)})),
		sdk.WithBatcher(e, sdk.WithMaxQueueSize(queueSize), sdk.WithBatchTimeout(batchDelay), sdk.WithExportTimeout(exportLimit)),
	)
	return &Tracing{
		provider: provider, exporter: e, propagateTo: o.PropagateTo,
		tracer: provider.Tracer("github.com/blobd/blobd", trace.WithInstrumentationVersion(o.Version)),
	}, nil
}

// Close sends what is still to be sent, until ctx ends; what is left then is dropped.
func (t *Tracing) Close(ctx context.Context) error {
	defer t.exporter.stop()
	return t.provider.Shutdown(ctx)
}

// failed says of a span why it failed: the reason and no words, which may name what is nobody else's business.
func failed(span trace.Span, err error) {
	if err == nil {
		return
	}
	reason := string(fault.ReasonOf(err))
	switch {
	case reason != "":
	case errors.Is(err, context.Canceled):
		reason = "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		reason = "timeout"
	default:
		reason = "_OTHER" // the conventions' word for it
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(reason))
	span.SetStatus(codes.Error, reason)
}
