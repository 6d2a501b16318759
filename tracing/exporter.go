package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// complainEvery is how often the log says that the collector takes no spans.
const complainEvery = time.Minute

// httpPath is where a collector takes spans over HTTP, unless the endpoint says otherwise.
const httpPath = "/v1/traces"

// exporter sends spans. It never fails, since what it returned would end up in a handler that is global: it says itself
// what was dropped.
type exporter struct {
	sdk.SpanExporter
	log     *slog.Logger
	stopped context.Context // ends what is under way when nobody waits for it any more
	stop    context.CancelFunc

	mu      sync.Mutex // guards what follows
	dropped int        // spans, since the last complaint
	said    time.Time
}

func newExporter(ctx context.Context, o Options) (*exporter, error) {
	to, err := url.Parse(o.Endpoint)
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil, fmt.Errorf("endpoint %q is no http or https URL", o.Endpoint)
	}
	var sends *otlptrace.Exporter
	switch o.Protocol {
	case GRPC:
		opts := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(to.String())}
		if len(o.Headers) > 0 {
			opts = append(opts, otlptracegrpc.WithHeaders(o.Headers))
		}
		sends, err = otlptracegrpc.New(ctx, opts...)
	case HTTP:
		if to.Path == "" || to.Path == "/" {
			to.Path = httpPath
		}
		opts := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(to.String())}
		if len(o.Headers) > 0 {
			opts = append(opts, otlptracehttp.WithHeaders(o.Headers))
		}
		sends, err = otlptracehttp.New(ctx, opts...)
	default:
		err = fmt.Errorf("protocol %q is neither %s nor %s", o.Protocol, GRPC, HTTP)
	}
	if err != nil {
		return nil, err
	}
	e := &exporter{SpanExporter: sends, log: o.Log}
	e.stopped, e.stop = context.WithCancel(context.Background())
	return e, nil
}

// ExportSpans sends spans, with as many tries as fit into ctx.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.stopped, cancel)()
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.complain(len(spans), err)
	}
	return nil
}

func (e *exporter) complain(spans int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped += spans
	if !e.said.IsZero() && time.Since(e.said) < complainEvery {
		return
	}
	e.log.Warn("the collector takes no spans; they are dropped", slog.Int("spans", e.dropped), slog.Any("error", err))
	e.dropped, e.said = 0, time.Now()
}
