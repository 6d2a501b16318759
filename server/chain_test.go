package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
	"github.com/blobd/blobd/server"
)

// A panic is lost for its caller alone, and the log has its stack.
func TestPanic(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	d := newDomain(t, map[string][]byte{"f": []byte("x")})
	panics := true
	d.pull = func(context.Context, string, pullthrough.Options) error {
		if panics {
			panicHere()
		}
		return nil
	}
	r := start(t, d, func(o *server.Options) { o.Logger = zap.New(core) })
	_, err := r.Pull(t.Context(), &blobdv1.PullRequest{})
	wantStatus(t, "unary", err, codes.Internal, fault.Internal)
	_, err = readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"})
	wantStatus(t, "streaming", err, codes.Internal, fault.Internal)

	lines := logs.FilterMessage("a handler panicked").All()
	if len(lines) != 2 {
		t.Fatalf("%d lines of panics", len(lines))
	}
	for _, l := range lines {
		fields := l.ContextMap()
		if stack, _ := fields["stack"].(string); !strings.Contains(stack, "panicHere") || fields["panic"] != "oh no" {
			t.Errorf("a line without its story: %v", fields)
		}
	}
	panics = false
	if _, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"}); err != nil {
		t.Error("after the panics:", err)
	}
}

func panicHere() { panic("oh no") }

// One line a call: debug for what went well, info for what the caller got wrong, error for what we did.
func TestLog(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	d := newDomain(t, map[string][]byte{"f": []byte("x")})
	var fails error
	d.pull = func(context.Context, string, pullthrough.Options) error { return fails }
	r := start(t, d, func(o *server.Options) { o.Logger = zap.New(core) })
	cases := []struct {
		err   error
		code  codes.Code
		level zapcore.Level
	}{
		{nil, codes.OK, zap.DebugLevel},
		{fault.New(fault.FileUnknown, "no such file"), codes.NotFound, zap.InfoLevel},
		{fault.New(fault.Internal, "a bug"), codes.Internal, zap.ErrorLevel},
	}
	for _, c := range cases {
		fails = c.err
		for method, call := range map[string]func() error{
			"Pull": func() error { _, err := r.Pull(t.Context(), &blobdv1.PullRequest{}); return err },
			"ReadFile": func() error {
				_, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"})
				return err
			},
		} {
			if err := call(); (err == nil) != (c.err == nil) {
				t.Fatal(err)
			}
			// The line is written just before the caller has its answer's end.
			all := logs.TakeAll()
			if len(all) != 1 {
				t.Fatalf("%s, %s: %d lines", method, c.code, len(all))
			}
			f := all[0].ContextMap()
			if all[0].Level != c.level || f["grpc.code"] != c.code.String() || f["grpc.method"] != method {
				t.Errorf("%s, %s: %s %v", method, c.code, all[0].Level, f)
			}
			if c.err != nil && (f["error"] != c.err.Error() || f["reason"] != string(fault.ReasonOf(c.err))) {
				t.Errorf("%s, %s: error %v, reason %v", method, c.code, f["error"], f["reason"])
			}
			if p, _ := f["principal"].(string); !strings.HasPrefix(p, "uid:") && p != "unknown" {
				t.Errorf("%s: principal %v", method, f["principal"])
			}
			if _, ok := f["duration"]; !ok {
				t.Errorf("%s: no duration", method)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	d := newDomain(t, map[string][]byte{"f": []byte("x")})
	r := start(t, d, func(o *server.Options) { o.Registerer = reg })
	for range 2 {
		if _, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "g"}); err == nil {
		t.Fatal("no error")
	}
	want := map[string]float64{"OK": 2, "NotFound": 1, "DataLoss": 0}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "grpc_server_handled_total" {
			continue
		}
		for _, m := range f.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["grpc_service"] == "blobd.v1.BlobdService" && labels["grpc_method"] == "ReadFile" {
				got[labels["grpc_code"]] = m.Counter.GetValue()
			}
		}
	}
	for code, n := range want {
		if v, ok := got[code]; !ok || v != n {
			t.Errorf("%s: %v calls (there: %v), want %v", code, v, ok, n)
		}
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if _, err := server.New(server.Options{Reader: d, Admin: d, Registerer: reg}); err == nil {
		t.Error("the same metrics were registered twice")
	}
}
