package metrics

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one part of readiness.
type Check struct {
	Name string
	// Ready returns nil, or why the part isn't ready in a few words. It must be quick.
	Ready func() error
}

// Handler serves /metrics, /livez and /readyz. /livez is about the process alone; /readyz answers 503 while one of the checks
// fails, and its text tells which and why.
func (m *Metrics) Handler(checks []Check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, checks) })
	return mux
}

func ready(w http.ResponseWriter, checks []Check) {
	status, body := http.StatusOK, new(strings.Builder)
	for _, c := range checks {
		if err := c.Ready(); err != nil {
			status = http.StatusServiceUnavailable
			fmt.Fprintf(body, "%s: %v\n", c.Name, err)
			continue
		}
		fmt.Fprintf(body, "%s: ok\n", c.Name)
	}
	text(w, status, body.String())
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a prober that has gone needs no answer
}
