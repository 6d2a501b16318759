package main

import "testing"

// What is in the environment for whatever program runs here does not keep a push from its work.
func TestCallersConfig(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
	t.Setenv("CONFIGURATION_DIRECTORY", t.TempDir())
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	t.Setenv("BLOBD_MAX_SIZE", "77MiB")
	c, err := callersConfig()
	if err != nil || c.MaxSize != 77<<20 || c.Tracing.Endpoint != "" {
		t.Errorf("%+v, %v", c, err)
	}
}
