package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/metrics"
	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/monitor/page"
)

// How long a scraper may take: it is on this host or near, and sends a line and some headers. What it is answered takes
// milliseconds.
const (
	httpHeaderLimit = 5 * time.Second
	httpIdleLimit   = 2 * time.Minute
	httpCloseLimit  = time.Second
	httpPageLimit   = 5 * time.Second // for the list of artifacts; later the page shows the one before
)

// httpServer serves metrics, probes and the status page. A nil one is switched off: its methods do nothing.
type httpServer struct {
	listener net.Listener
	server   *http.Server
	ready    atomic.Bool // the store is open
	draining atomic.Bool // the socket takes no more calls
}

// listenHTTP opens the listener, after the socket listens.
func listenHTTP(ctx context.Context, c config.Config, m *metrics.Metrics, watch *monitor.Monitor, log *zap.Logger) (*httpServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.HTTPAddr)
	if err != nil {
		return nil, (&fault.Error{What: "http_addr " + c.HTTPAddr, Err: err}).
			Try(`give another address with --http-addr, or "off"`)
	}
	h := &httpServer{listener: listener}
	checks := []metrics.Check{
		{Name: "store", Ready: h.store},
		{Name: "socket", Ready: h.socket},
	}
	m.WatchReady(checks)
	errorLog, _ := zap.NewStdLogAt(log.Named("http"), zap.WarnLevel) // it fails for unknown levels only
	h.server = &http.Server{
		Handler: withPage(c.StatusPage, watch, m.Handler(checks)), ErrorLog: errorLog,
		ReadHeaderTimeout: httpHeaderLimit, IdleTimeout: httpIdleLimit,
	}
	return h, nil
}

// withPage adds the status page to others, unless it is shown to nobody.
func withPage(shown string, watch *monitor.Monitor, others http.Handler) http.Handler {
	if shown == config.StatusPageOff {
		return others
	}
	people := page.Handler(func() monitor.Snapshot {
		ctx, cancel := context.WithTimeout(context.Background(), httpPageLimit) // for all who look, not for the first
		defer cancel()
		return watch.Snapshot(ctx)
	})
	if shown == config.StatusPageLocal {
		people = page.Local(people)
	}
	mux := http.NewServeMux()
	mux.Handle("/{$}", people)
	mux.Handle("/", others)
	return mux
}

func (h *httpServer) store() error {
	if !h.ready.Load() {
		return errors.New("starting")
	}
	return nil
}

func (h *httpServer) socket() error {
	if h.draining.Load() {
		return errors.New("draining")
	}
	return nil
}

func (h *httpServer) setReady() {
	if h != nil {
		h.ready.Store(true)
	}
}

func (h *httpServer) setDraining() {
	if h != nil {
		h.draining.Store(true)
	}
}

// serve returns nil when the server was closed.
func (h *httpServer) serve() error {
	if err := h.server.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (h *httpServer) close() {
	if h == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), httpCloseLimit)
	defer cancel()
	if h.server.Shutdown(ctx) != nil {
		_ = h.server.Close()
	}
	_ = h.listener.Close() // Shutdown closes what Serve was given, which is nothing when the daemon never ran
}

func (h *httpServer) addr() string {
	if h == nil {
		return "off"
	}
	return h.listener.Addr().String()
}
