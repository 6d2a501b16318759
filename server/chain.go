package server

import (
	"context"
	"runtime/debug"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/blobd/blobd/access"
	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
)

// chain is every interceptor of the server, outermost first. Logging and metrics see the status that the caller gets;
// recovery stands inside watch, which runs the rest of the chain in a goroutine of its own.
func (s *Server) chain(metrics *grpcprom.ServerMetrics, traces stats.Handler) []grpc.ServerOption {
	logs, logOptions := logAdapter(s.log), logOptions()
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(
			logging.UnaryServerInterceptor(logs, logOptions...),
			metrics.UnaryServerInterceptor(),
			s.statusUnary,
			s.limits.unary,
			recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(s.panicked)),
			s.gate.unary,
			s.adminOnlyUnary,
		),
		grpc.ChainStreamInterceptor(
			logging.StreamServerInterceptor(logs, logOptions...),
			metrics.StreamServerInterceptor(),
			s.statusStream,
			s.limits.stream,
			s.watch.stream,
			recovery.StreamServerInterceptor(recovery.WithRecoveryHandlerContext(s.panicked)),
			s.gate.stream,
			s.adminOnlyStream,
		),
	}
	if traces != nil {
		options = append(options, grpc.StatsHandler(traces))
	}
	return options
}

// statusUnary and statusStream turn errors into statuses.
func (s *Server) statusUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	err = toStatus(ctx, err)
	failed(s.tells, err)
	return resp, err
}

func (s *Server) statusStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	err := toStatus(ss.Context(), next(srv, ss))
	failed(s.tells, err)
	return err
}

// panicked logs a handler's panic with its stack and makes it an error: one call is lost, not the daemon.
func (s *Server) panicked(_ context.Context, p any) error {
	s.log.Error("a handler panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
	return fault.New(fault.Internal, "blobd met a bug of its own; its log has the details")
}

// logAdapter hands the lines of the logging interceptor to zap.
func logAdapter(l *zap.Logger) logging.LoggerFunc {
	return func(_ context.Context, level logging.Level, msg string, fields ...any) {
		zapLevel := zap.DebugLevel
		switch {
		case level >= logging.LevelError:
			zapLevel = zap.ErrorLevel
		case level >= logging.LevelInfo:
			zapLevel = zap.InfoLevel
		}
		entry := l.Check(zapLevel, msg)
		if entry == nil {
			return
		}
		out := make([]zap.Field, 0, len(fields)/2)
		for i := 0; i+1 < len(fields); i += 2 {
			if key, _ := fields[i].(string); !noise(key) {
				out = append(out, zap.Any(key, fields[i+1]))
			}
		}
		entry.Write(out...)
	}
}

// noise reports whether the interceptor's field tells nothing here: peers of a unix socket have no address, the line has
// a time and a duration, and the error stands beside it without gRPC's wording.
func noise(key string) bool {
	switch key {
	case "peer.address", "grpc.start_time", "grpc.request.deadline", "grpc.error":
		return true
	}
	return false
}

// logOptions: one line a call, at its end; at debug when it went well, at error when that is our bug, else at info.
func logOptions() []logging.Option {
	return []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey, logging.MethodTypeFieldKey),
		logging.WithErrorFields(func(err error) logging.Fields {
			st := status.Convert(err)
			return logging.Fields{"error", st.Message(), "reason", reasonIn(st)}
		}),
		logging.WithLevels(func(code codes.Code) logging.Level {
			switch code {
			case codes.OK:
				return logging.LevelDebug
			case codes.Internal, codes.Unknown:
				return logging.LevelError
			default:
				return logging.LevelInfo
			}
		}),
		logging.WithDurationField(func(d time.Duration) logging.Fields { return logging.Fields{"duration", d} }),
		logging.WithFieldsFromContext(func(ctx context.Context) logging.Fields {
			p := principalOf(ctx)
			return logging.Fields{"principal", p.Key(), "pid", p.PID}
		}),
	}
}

// adminOnlyUnary and adminOnlyStream keep AdminService for those whom the policy names.
func (s *Server) adminOnlyUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) adminOnlyStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.admit(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, ss)
}

func (s *Server) admit(ctx context.Context, method string) error {
	if serviceOf(method) != blobdv1.AdminService_ServiceDesc.ServiceName {
		return nil
	}
	p := principalOf(ctx)
	if s.policy.Admin(p) {
		return nil
	}
	return fault.New(fault.AdminOnly, "looking after the cache is not open to %s", who(p)).
		Try("run it as root or as the daemon's user, or name the user in admin_users")
}

func who(p access.Principal) string {
	if !p.Known {
		return "a user whom the daemon can't tell"
	}
	return p.Key()
}
