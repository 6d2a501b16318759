// Package server is the gRPC front end: the socket, the interceptors, health and reflection, and handlers that turn
// messages into calls of the domain and back. It decides nothing about content.
//
// It promises:
//   - Every error of its two services is a status with a google.rpc.ErrorInfo, made in one table (status.go); but for a
//     request that is too large, which gRPC itself refuses before it has read it.
//   - A stream that ended in OK was whole; one that was cut, by a panic, a drain or a caller who stopped reading, did not.
//   - A caller who stops reading is dropped and holds nobody up; one who panics a handler gets INTERNAL, the others nothing.
//   - No user has more connections or calls open than the limits allow; one more is refused with a reason, and costs others
//     nothing.
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
	"google.golang.org/grpc/stats"

	"github.com/blobd/blobd/access"
	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

const (
	// maxRequest is the largest request, in bytes: a reference, a path and a long list of patterns fit; floods don't.
	maxRequest = 64 << 10
	// maxHeaders is the same of what comes before a request. Clients send some hundred bytes; gRPC would take 16 MiB.
	maxHeaders = 64 << 10
	// maxStreams is how many calls one connection may have open. Each holds at most a chunk and a little; a client with
	// as many files open at once gets its next call when one ends.
	maxStreams = 1000
	// handshakeLimit is how long a connection may take to say that it speaks HTTP/2. In a burst of 10,000 on two busy cores
	// some callers take more than 10 s; those who say nothing hold what counts against their own limit.
	handshakeLimit = 30 * time.Second
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
	// Reader and Admin may come later, by Ready: until then calls are refused with STARTING.
	Reader      Reader
	Admin       Admin
	Logins      Logins  // nil: the daemon keeps none
	Monitor     Monitor // nil: nobody watches
	Daemon      Daemon
	Policy      access.Policy
	Limits      Limits
	IdleTimeout time.Duration         // 0: DefaultIdleTimeout
	Observer    Observer              // nil: none
	Logger      *zap.Logger           // nil: none
	Registerer  prometheus.Registerer // takes gRPC's metrics; nil: none
	Stats       stats.Handler         // hears of every call from its first byte on, for traces; nil: none
}

// Server serves one or several listeners until it is shut down. Its methods are safe for concurrent use.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	read   *readService
	admin  *adminService
	limits *limits
	gate   *gate
	watch  *watch
	policy access.Policy
	tells  Monitor // may be nil
	log    *zap.Logger
}

// New makes a server that can Serve. It fails when the registerer has such metrics already.
func New(o Options) (*Server, error) {
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	limits := newLimits(o.Limits, o.Observer, o.Logger)
	s := &Server{
		health: health.NewServer(), gate: newGate(), watch: newWatch(o.IdleTimeout, limits.readerDropped),
		limits: limits, policy: o.Policy, log: o.Logger,
		read:  &readService{chunks: new(chunkPool), monitor: o.Monitor},
		admin: &adminService{daemon: o.Daemon, logins: o.Logins, monitor: o.Monitor}, tells: o.Monitor,
	}
	s.admin.closing = s.gate.closing
	metrics := grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram())
	if o.Registerer != nil {
		if err := o.Registerer.Register(metrics); err != nil {
			return nil, fmt.Errorf("gRPC metrics: %w", err)
		}
	}
	s.grpc = grpc.NewServer(append(s.chain(metrics, o.Stats),
		grpc.Creds(peerCredentials{}),
		grpc.ForceServerCodecV2(wire.Codec()),
		grpc.InTapHandle(s.limits.admitCall),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.ReadBufferSize(readBuffer),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)...)
	blobdv1.RegisterBlobdServiceServer(s.grpc, s.read)
	blobdv1.RegisterAdminServiceServer(s.grpc, s.admin)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	metrics.InitializeMetrics(s.grpc)
	s.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if o.Reader != nil {
		s.Ready(o.Reader, o.Admin)
	}
	return s, nil
}

// Ready gives the server what New was not given: calls are let in from now on. It is called once.
func (s *Server) Ready(r Reader, a Admin) {
	s.read.domain, s.admin.domain = r, a // no handler runs before the gate is open
	s.gate.open()
	s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
}

// setHealth tells of the server as a whole, which is called "", and of each of our services.
func (s *Server) setHealth(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	for name := range s.grpc.GetServiceInfo() {
		if ours("/" + name + "/") {
			s.health.SetServingStatus(name, status)
		}
	}
}

// SetLimits changes the limits from now on. What is open stays.
func (s *Server) SetLimits(l Limits) { s.limits.set(l) }

// Serve accepts connections from l until Shutdown, and closes l then. It returns nil when it was shut down.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(peerListener{l, s.limits}); err != nil && err != grpc.ErrServerStopped {
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
