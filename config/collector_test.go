package config_test

import (
	"testing"

	"github.com/blobd/blobd/config"
)

// The standard variables of OpenTelemetry count where no key of ours is set, and are no reason for tracing where nobody
// names a collector.
func TestStandardVariablesOfTracing(t *testing.T) {
	const base, traces = "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://b/x"
	const overHTTP = "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
	for _, tt := range []struct {
		name               string
		env                []string
		endpoint, protocol string
	}{
		{"none", nil, "", "grpc"},
		{"all signals", []string{base}, "http://a:4318", "grpc"},
		{"all signals over HTTP", []string{base, overHTTP}, "http://a:4318/v1/traces", "http"},
		{"traces", []string{base, traces}, "http://b/x", "grpc"},
		{"traces over HTTP", []string{base, traces, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, "http://b/x", "http"},
		{"ours wins", []string{base, traces, overHTTP, "BLOBD_TRACING_ENDPOINT=http://c", "BLOBD_TRACING_PROTOCOL=grpc"}, "http://c", "grpc"},
		{"our endpoint, their protocol", []string{base, overHTTP, "BLOBD_TRACING_ENDPOINT=http://c"}, "http://c", "http"},
		{"switched off", []string{base, traces, "OTEL_SDK_DISABLED=true"}, "", "grpc"},
		{"no traces", []string{base, traces, "OTEL_TRACES_EXPORTER=none"}, "", "grpc"},
		{"traces by OTLP", []string{base, "OTEL_TRACES_EXPORTER=otlp"}, "http://a:4318", "grpc"},
		{"a protocol alone", []string{"OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, "", "grpc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, warnings, err := config.Load(config.Sources{Environ: append(home(t), tt.env...)})
			if err != nil || warnings != nil {
				t.Fatal(err, warnings)
			}
			if c.Tracing.Endpoint != tt.endpoint || c.Tracing.Protocol != tt.protocol {
				t.Errorf("%q by %q, want %q by %q", c.Tracing.Endpoint, c.Tracing.Protocol, tt.endpoint, tt.protocol)
			}
		})
	}
	t.Run("a mistake names the variable", func(t *testing.T) {
		_, _, err := config.Load(config.Sources{Environ: append(home(t), "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317")})
		checkMistake(t, err, "$OTEL_EXPORTER_OTLP_ENDPOINT", "tracing.endpoint")
	})
}
