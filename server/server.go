// Package server is the gRPC front end: the socket, the interceptors, health and reflection, and handlers that turn
// messages into calls of the domain and back. It decides nothing about content.
//
// It promises:
//   - Every error of its two services is a status with a google.rpc.ErrorInfo, made in one table (status.go).
//   - A stream that ended in OK was whole; one that was cut, by a panic, a drain or a caller who stopped reading, did not.
//   - A caller who stops reading is dropped and holds nobody up; one who panics a handler gets INTERNAL, the others nothing.
//   - A live daemon is never unseated from its socket.
package server

import (
	"context"
	"fmt"
	"net"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/blobd/blobd/access"
	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

const (
	// maxRequest is the largest request, in bytes: a reference, a path and a long list of patterns fit; floods don't.
	maxRequest = 64 << 10
	// maxStreams is how many calls one connection may have open. Each holds at most a chunk and a little; a client with
	// as many files open at once gets its next call when one ends.
	maxStreams = 1000
	// handshakeLimit is how long a connection may take to say that it speaks HTTP/2.
	handshakeLimit = 10 * time.Second
	// readBuffer is what a connection holds even when it is idle. Requests are small, and 10,000 idle connections with
	// gRPC's 32 KiB would hold 320 MiB.
	readBuffer = 4 << 10
	// minPing is how often a client may ping. On a socket of the same host a dead peer shows by itself, so pings are
	// neither needed nor sent; clients that are set to ping are not punished for it.
	minPing = 10 * time.Second
	// DefaultIdleTimeout is how long a caller may take nothing before it is dropped.
	DefaultIdleTimeout = 60 * time.Second
)

// Options is what a Server is made of.
type Options struct {
	Reader      Reader
	Admin       Admin
	Daemon      Daemon
	Policy      access.Policy
	IdleTimeout time.Duration         // 0: DefaultIdleTimeout
	Logger      *zap.Logger           // nil: none
	Registerer  prometheus.Registerer // takes gRPC's metrics; nil: none
}

// Server serves one or several listeners until it is shut down. Its methods are safe for concurrent use.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	gate   *gate
	watch  *watch
	policy access.Policy
	log    *zap.Logger
}

// New makes a server that is ready to Serve. It fails when the registerer has such metrics already.
func New(o Options) (*Server, error) {
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	s := &Server{
		health: health.NewServer(), gate: newGate(), watch: newWatch(o.IdleTimeout), policy: o.Policy, log: o.Logger,
	}
	metrics := grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram())
	if o.Registerer != nil {
		if err := o.Registerer.Register(metrics); err != nil {
			return nil, fmt.Errorf("gRPC metrics: %w", err)
		}
	}
	s.grpc = grpc.NewServer(append(s.chain(metrics),
		grpc.Creds(peerCredentials{}),
		grpc.ForceServerCodecV2(wire.Codec()),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.ReadBufferSize(readBuffer),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)...)
	blobdv1.RegisterBlobdServiceServer(s.grpc, &readService{domain: o.Reader, chunks: new(chunkPool)})
	blobdv1.RegisterAdminServiceServer(s.grpc, &adminService{domain: o.Admin, daemon: o.Daemon})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	for name := range s.grpc.GetServiceInfo() {
		if ours("/" + name + "/") {
			s.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
		}
	}
	metrics.InitializeMetrics(s.grpc)
	return s, nil
}

// Serve accepts connections from l until Shutdown, and closes l then. It returns nil when it was shut down.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && err != grpc.ErrServerStopped {
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown drains the server: health says NOT_SERVING, new calls are refused with SHUTTING_DOWN, and calls under way go
// on to their end or until ctx ends; they are cut then, and get an error. When it returns no handler runs any more. The
// error says how many calls were cut; nil means none.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.gate.close()
	select {
	case <-s.gate.empty:
	case <-ctx.Done():
	}
	cut := s.gate.inside()

	s.watch.end()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc.GracefulStop()
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		s.grpc.Stop()
		<-stopped
	}
	s.watch.running.Wait()
	if cut > 0 {
		return fmt.Errorf("%d calls were cut: %w", cut, context.Cause(ctx))
	}
	return nil
}
