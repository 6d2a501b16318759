package server

import (
	"context"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/tap"

	"github.com/blobd/blobd/access"
	"github.com/blobd/blobd/internal/fault"
)

// Limits are how much of this server one user may have, and all users together. 0 is no limit.
type Limits struct {
	ConnectionsPerUser int
	CallsPerUser       int
	// Connections of all users together: what the process may have of descriptors, less what it needs itself. One person
	// can have many users (/etc/subuid), so the limit of each protects no descriptors.
	Connections int
}

const (
	// refusedConnections are those over a limit that are kept at one time, of each user and of all, so that their calls
	// can be told why; more are closed without a word.
	refusedConnections    = 100
	allRefusedConnections = 1000
	// refusedLife is how long such a connection is kept. It ends when a caller who heeds RetryInfo comes again, who so
	// comes with a new one.
	refusedLife = defaultRetry
	// refusedCalls times the limit are so many calls over it that are answered at one time; more, which only callers
	// have who send no requests, end with their connection.
	refusedCalls = 3
	// droppedReaders are those who took nothing, were dropped, and have not taken yet what was on its way either, up to
	// some 300 KiB that only the end of their connection frees: that many a user, on connections that are still open. One
	// more, and his connection is closed.
	droppedReaders = 256
	// tellEvery is how often the log says that somebody is refused connections.
	tellEvery = time.Minute
)

// Observer hears of connections. Its methods are called concurrently and must be quick.
type Observer interface {
	ConnectionOpened()
	ConnectionClosed()
	ConnectionRefused() // over a limit, whether its calls were told or not
}

type noObserver struct{}

func (noObserver) ConnectionOpened()  {}
func (noObserver) ConnectionClosed()  {}
func (noObserver) ConnectionRefused() {}

// limits decide who may have one more connection or call. Who may not is told so by the status of his calls, which costs
// him and us no more than a call that fails; what is kept for telling is limited too.
//
// A call counts from its first frame to the end of its stream, whatever the caller does between.
type limits struct {
	connections, refusedConnections *access.Quota
	calls, refusedCalls             *access.Quota
	dropped                         *access.Quota

	observer Observer
	log      *zap.Logger
}

func newLimits(l Limits, o Observer, log *zap.Logger) *limits {
	if o == nil {
		o = noObserver{}
	}
	seldom := zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewSamplerWithOptions(c, tellEvery, 1, 0) })
	lim := &limits{
		connections: access.NewQuota(0, 0), refusedConnections: access.NewQuota(refusedConnections, allRefusedConnections),
		calls: access.NewQuota(0, 0), refusedCalls: access.NewQuota(0, 0), dropped: access.NewQuota(droppedReaders, 0),
		observer: o, log: log.WithOptions(seldom),
	}
	lim.set(l)
	return lim
}

func (l *limits) set(to Limits) {
	l.connections.SetLimits(to.ConnectionsPerUser, to.Connections)
	l.calls.SetLimits(to.CallsPerUser, 0)
	l.refusedCalls.SetLimits(to.CallsPerUser*refusedCalls, 0)
}

// admitConnection decides about a connection that was accepted; nil is one that had to be closed.
func (l *limits) admitConnection(conn net.Conn) *peerConn {
	p, err := access.FromConn(conn)
	if err != nil {
		p = access.Principal{} // kept: who can't be told may read, as all who may open the socket
	}
	full := l.connections.Take(p)
	if full == nil {
		l.observer.ConnectionOpened()
		c := newPeerConn(conn, p, nil)
		context.AfterFunc(c.gone, func() {
			l.connections.Give(p)
			l.observer.ConnectionClosed()
		})
		return c
	}
	l.observer.ConnectionRefused()
	refusal := l.connectionRefused(p, full)
	l.log.Warn("a connection is refused", zap.String("principal", p.Key()), zap.Int32("pid", p.PID), zap.Error(refusal))
	if l.refusedConnections.Take(p) != nil {
		_ = conn.Close()
		return nil
	}
	c := newPeerConn(conn, p, refusal)
	context.AfterFunc(c.gone, func() { l.refusedConnections.Give(p) })
	time.AfterFunc(refusedLife, func() { _ = c.Close() })
	return c
}

// admitCall is gRPC's tap: it sees a call when its first frame has come, before anything is spent on it. A call that is
// refused is answered further up, where the answer is logged, counted and given its details.
func (l *limits) admitCall(ctx context.Context, _ *tap.Info) (context.Context, error) {
	conn := connOf(ctx)
	p, refusal := conn.principal, conn.refusal
	if refusal == nil {
		if l.calls.Take(p) == nil {
			context.AfterFunc(ctx, func() { l.calls.Give(p) })
			return ctx, nil
		}
		refusal = l.callRefused(p)
	}
	if l.refusedCalls.Take(p) != nil {
		_ = conn.Close()
		return ctx, nil // which ends with the connection
	}
	context.AfterFunc(ctx, func() { l.refusedCalls.Give(p) })
	return context.WithValue(ctx, refusalKey{}, refusal), nil
}

// readerDropped counts a call that was ended because its caller took nothing.
func (l *limits) readerDropped(ctx context.Context) {
	c := connOf(ctx)
	if l.dropped.Take(c.principal) != nil {
		_ = c.Close()
		return
	}
	context.AfterFunc(c.gone, func() { l.dropped.Give(c.principal) })
}

func (l *limits) connectionRefused(p access.Principal, full error) error {
	each, all := l.connections.Limits()
	if errors.Is(full, access.ErrFull) {
		return fault.New(fault.LocalOverload, "the daemon has %d connections open, as many as its limit of open files allows", all).
			Try("try again; or raise that limit of the daemon's process (LimitNOFILE= of systemd, ulimit -n)")
	}
	return fault.New(fault.LocalOverload, "%s has %d connections open, as many as max_connections_per_user allows", whose(p), each).
		Try("close some, or use one for many calls; or raise max_connections_per_user in the daemon's configuration")
}

func (l *limits) callRefused(p access.Principal) error {
	each, _ := l.calls.Limits()
	return fault.New(fault.LocalOverload, "%s has %d calls open, as many as max_calls_per_user allows", whose(p), each).
		Try("try again when some have ended; or raise max_calls_per_user in the daemon's configuration")
}

func whose(p access.Principal) string {
	if !p.Known {
		return "the users whom the daemon can't tell apart"
	}
	return p.Key()
}

// refusalKey is where a call's context has the error that it is to be answered.
type refusalKey struct{}

// refusalOf is nil for a call that is within the limits. Probes are always answered: a daemon whose callers are too many
// must not be restarted for it.
func refusalOf(ctx context.Context, method string) error {
	if method == grpc_health_v1.Health_Check_FullMethodName {
		return nil
	}
	err, _ := ctx.Value(refusalKey{}).(error)
	return err
}

func (l *limits) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := refusalOf(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (l *limits) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := refusalOf(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, ss)
}
