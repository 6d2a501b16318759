package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"go.uber.org/zap"

	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/internal/fault"
)

// pprofServer serves Go's profiles and nothing else, to this host alone. A nil one is switched off: its methods do
// nothing.
type pprofServer struct {
	listener net.Listener
	server   *http.Server
}

// listenPprof opens the listener, at an address that config has found to be a loopback one.
func listenPprof(ctx context.Context, c config.Config, log *zap.Logger) (*pprofServer, error) {
	if c.PprofAddr == "" {
		return nil, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.PprofAddr)
	if err != nil {
		return nil, (&fault.Error{What: "pprof_addr " + c.PprofAddr, Err: err}).Try("give another address with --pprof-addr, or none")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	errorLog, _ := zap.NewStdLogAt(log.Named("pprof"), zap.WarnLevel) // it fails for unknown levels only
	log.Info("profiles", zap.Stringer("pprof_addr", listener.Addr()))
	return &pprofServer{listener: listener, server: &http.Server{
		Handler: thisHostAlone(mux), ErrorLog: errorLog, ReadHeaderTimeout: httpHeaderLimit, IdleTimeout: httpIdleLimit,
	}}, nil
}

// thisHostAlone refuses requests for a host of another name. A page in a browser of this host can send requests to
// loopback addresses, and read the answers where it has its own name resolve to one; but its name then stands in them.
func thisHostAlone(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.Trim(r.Host, "[]")
		if host, _, err := net.SplitHostPort(r.Host); err == nil {
			name = host
		}
		if ip, err := netip.ParseAddr(name); name != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "profiles are for this host alone: ask for them at localhost, 127.0.0.1 or [::1]", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve returns nil when the server was closed.
func (p *pprofServer) serve() error {
	if err := p.server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close cuts profiles that are being made: they may take as long as they like.
func (p *pprofServer) close() {
	if p == nil {
		return
	}
	_ = p.server.Close()
	_ = p.listener.Close() // Close closes what Serve was given, which is nothing when the daemon never ran
}
