package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/metadata"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/otlptest"
	"github.com/blobd/blobd/internal/registrytest"
)

// The trace of a Go program goes on in the daemon, when its client is given OpenTelemetry's handler.
func TestTraceOfAGoProgram(t *testing.T) {
	c := otlptest.New(t)
	reg := registrytest.New(t, registrytest.Options{})
	index, data := archivetest.Build([]archivetest.File{{Path: "f", Data: []byte("hello")}}, archivetest.Options{})
	if _, err := archivetest.Push(t.Context(), reg.PushHost(), "acme/app:v1", index, data); err != nil {
		t.Fatal(err)
	}
	td := startTest(t, shortDir(t), fmt.Sprintf("tracing: {endpoint: %q, protocol: http}\n", c.HTTP))

	program := sdk.NewTracerProvider()
	blobd, err := client.Dial(t.Context(), client.WithSocket(td.socket), client.WithStatsHandler(
		otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(program), otelgrpc.WithPropagators(propagation.TraceContext{}))))
	if err != nil {
		t.Fatal(err)
	}
	defer blobd.Close()
	ctx, span := program.Tracer("test").Start(t.Context(), "the program's work")
	a, err := blobd.Pull(ctx, reg.Host()+"/acme/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WithContext(ctx).ReadFile("f"); err != nil {
		t.Fatal(err)
	}
	td.end(t)
	for _, call := range []string{"Pull", "ReadFile"} {
		i := slices.IndexFunc(c.Spans(), func(s *otlptest.Span) bool { return s.Name == "blobd.v1.BlobdService/"+call })
		if i < 0 || c.Spans()[i].Trace != span.SpanContext().TraceID().String() {
			t.Errorf("%s is not in the program's trace:\n%s", call, otlptest.List(c.Spans()))
		}
	}
}

// Of a call that fails the span tells the reason, which says what to look for, and nothing of the message.
func TestTraceOfAFailure(t *testing.T) {
	c := otlptest.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ref := l.Addr().String() + "/acme/app:v1"
	l.Close() // so that nobody is there
	td := startTest(t, shortDir(t), fmt.Sprintf("tracing: {endpoint: %q}\n", c.GRPC))
	_, err = td.dial(t).Pull(t.Context(), ref)
	if err == nil || !strings.Contains(err.Error(), "can't reach") {
		t.Fatalf("a pull from nowhere: %v", err)
	}
	td.end(t)
	for _, name := range []string{"blobd.v1.BlobdService/Pull", "flight tag", "HEAD tag"} {
		i := slices.IndexFunc(c.Spans(), func(s *otlptest.Span) bool { return s.Name == name })
		if i < 0 || c.Spans()[i].Failed != "UPSTREAM_UNREACHABLE" {
			t.Errorf("%s does not say why it failed:\n%s", name, otlptest.List(c.Spans()))
		}
	}
	if strings.Contains(c.Raw(), "can't reach") {
		t.Error("the words of an error came along")
	}
}

// Probes make no spans, and nothing is traced unless somebody asks for it.
func TestProbesAreNotTraced(t *testing.T) {
	c := otlptest.New(t)
	dir := shortDir(t)
	td := startTest(t, dir, fmt.Sprintf("tracing: {endpoint: %q}\n", c.GRPC))
	if code := run(t.Context(), []string{"healthcheck", "--socket", td.socket}, t.Output(), t.Output()); code != 0 {
		t.Fatalf("healthcheck ends with %d", code)
	}
	td.end(t)
	if spans := c.Spans(); len(spans) > 0 {
		t.Errorf("traced:\n%s", otlptest.List(spans))
	}
	if td = startTest(t, dir, ""); td.tracing != nil {
		t.Error("a daemon traces that nobody told to")
	}
}

// A file of headers that can't be used is named, and what is in it is not.
func TestHeadersThatCantBeUsed(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "headers")
	for _, text := range []string{"- canary\n", "canary\n", "a: [canary]\n", "a: b: canary\n", "'a b': canary\n", "a: \"canary\\n\"\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		more := fmt.Sprintf("tracing: {endpoint: 'http://127.0.0.1:4317', headers_file: %q}\n", file)
		_, err := startDaemon(t.Context(), config.Sources{File: writeConfig(t, dir, more)}, t.Output())
		if err == nil || !strings.Contains(err.Error(), "tracing.headers_file") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What a command's environment says of a trace goes along when it can be one, and otherwise not.
func TestPassOnTrace(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct{ parent, state, wantParent, wantState string }{
		{parent, "a=b,c=d", parent, "a=b,c=d"},
		{parent, "", parent, ""},
		{parent, "a=\x00", parent, ""},
		{parent, strings.Repeat("a", 513), parent, ""},
		{"", "a=b", "", ""},
		{strings.ToUpper(parent), "a=b", "", ""},
		{parent + "\n", "", "", ""},
		{parent + "-extra", "", "", ""},
		{"garbage\x01", "", "", ""},
	} {
		env := map[string]string{"TRACEPARENT": tt.parent, "TRACESTATE": tt.state}
		md, _ := metadata.FromOutgoingContext(passOnTrace(context.Background(), func(name string) string { return env[name] }))
		if got := strings.Join(md.Get("traceparent"), ","); got != tt.wantParent {
			t.Errorf("%q: passed on %q", tt.parent, got)
		}
		if got := strings.Join(md.Get("tracestate"), ";"); got != tt.wantState {
			t.Errorf("%q: passed on %q", tt.state, got)
		}
	}
}
