package main

import (
	"context"
	"regexp"

	"google.golang.org/grpc/metadata"
)

// passOnTrace has the calls of a command take part in the trace that the environment names, as the tools of CI systems and
// shells do: $TRACEPARENT and $TRACESTATE are the headers of W3C Trace Context. What is none is left out, since a command
// must not fail for a trace.
func passOnTrace(ctx context.Context, getenv func(string) string) context.Context {
	parent, state := getenv("TRACEPARENT"), getenv("TRACESTATE")
	if !traceparent.MatchString(parent) {
		return ctx
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
	if tracestate.MatchString(state) {
		ctx = metadata.AppendToOutgoingContext(ctx, "tracestate", state)
	}
	return ctx
}

var (
	traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
	// 512 characters is what everybody has to pass on of it, at least.
	tracestate = regexp.MustCompile(`^[ -~]{1,512}$`)
)
