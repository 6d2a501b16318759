package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/grpc/stats"

	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/tracing"
)

// flushLimit is how long the last spans may take to the collector when the daemon stops. One that is there takes some
// milliseconds.
const flushLimit = 2 * time.Second

// startTracing returns nil where nothing is to be traced. It fails when the file of headers can't be used.
func (d *daemon) startTracing(ctx context.Context, c config.Config) (*tracing.Tracing, error) {
	if c.Tracing.Endpoint == "" {
		return nil, nil
	}
	headers, err := readHeaders(c.Tracing.HeadersFile)
	if err != nil {
		return nil, d.sources.Mistake("tracing.headers_file", err.Error(), "name a YAML file of headers, as authorization: Bearer …")
	}
	d.log.Info("tracing", zap.String("endpoint", c.Tracing.Endpoint), zap.Float64("sample", float64(c.Tracing.Sample)))
	return tracing.New(ctx, tracing.Options{
		Endpoint: c.Tracing.Endpoint, Protocol: c.Tracing.Protocol, Headers: headers, Sample: float64(c.Tracing.Sample),
		PropagateTo: c.Tracing.PropagateTo, Version: d.build.Version, Log: slogOf(d.log, "tracing"),
	})
}

// readHeaders reads what the collector wants to see. What is wrong with the file is said without its words, which are
// secrets.
func readHeaders(file string) (headers map[string]string, err error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if yaml.Unmarshal(text, &headers) != nil {
		return nil, fmt.Errorf("%s is no YAML of names and values", file)
	}
	for name, value := range headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("%s has a name or a value that no header can have", file)
		}
	}
	return headers, nil
}

// The rooms are given a tracer only where there is one: a nil one in an interface would not be nil.

func (d *daemon) traceCalls() stats.Handler {
	if d.tracing == nil {
		return nil
	}
	return d.tracing.Server()
}

func (d *daemon) traceFlights() {
	if d.tracing != nil {
		d.service.Trace(d.tracing)
	}
}

func (d *daemon) traceRequests(o *fetcher.Options) {
	if d.tracing != nil {
		o.Tracer = d.tracing
	}
}

// endTracing sends the last spans, when nothing makes any more.
func (d *daemon) endTracing() {
	if d.tracing == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	if err := d.tracing.Close(ctx); err != nil {
		d.log.Warn("the last spans are lost", zap.Error(err))
	}
}
