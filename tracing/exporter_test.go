package tracing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// refusing is a collector that takes nothing.
type refusing struct{ sdk.SpanExporter }

func (refusing) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return errors.New("refused") }

// The log says once a minute that spans are dropped, and how many since it last said so.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := &exporter{SpanExporter: refusing{}, log: slog.New(slog.NewTextHandler(&log, nil)), stopped: t.Context()}
		for range 7 * 12 { // every 5 s for 7 minutes
			if err := e.ExportSpans(t.Context(), make([]sdk.ReadOnlySpan, 10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 7 || !strings.Contains(lines[0], "spans=10 ") || !strings.Contains(lines[6], "spans=120 ") || !strings.Contains(lines[6], "refused") {
			t.Errorf("%d complaints: %s", len(lines), log.String())
		}
	})
}
