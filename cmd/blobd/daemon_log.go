package main

import (
	"io"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zapgrpc"
	"google.golang.org/grpc/grpclog"

	"github.com/blobd/blobd/config"
)

// newLogger writes one JSON object a line, or lines for people, to w. The level can be changed while it is in use.
func newLogger(w io.Writer, c config.Log) (*zap.Logger, zap.AtomicLevel) {
	level := zap.NewAtomicLevelAt(zapLevel(c.Level))
	fields := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "msg", StacktraceKey: "stack",
		EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	}
	encoder := zapcore.NewJSONEncoder(fields)
	if c.Format == "text" {
		encoder = zapcore.NewConsoleEncoder(fields)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)), level
}

// zapLevel takes what config has validated.
func zapLevel(name string) zapcore.Level {
	level, err := zapcore.ParseLevel(name)
	if err != nil {
		return zapcore.InfoLevel
	}
	return level
}

// slogOf is log for libraries that speak slog. No line of theirs is worth a stack.
func slogOf(log *zap.Logger, name string) *slog.Logger {
	return slog.New(zapslog.NewHandler(log.Core(), zapslog.WithName(name), zapslog.AddStacktraceAt(slog.LevelError+1)))
}

// redirectLogs has what libraries write to stderr by themselves go to log, as lines like all others: what gRPC takes for
// an error, and Go's standard logger. It changes the process, so it is called where there is only one daemon, before it
// serves. What it returns gives the standard logger back.
func redirectLogs(log *zap.Logger) (undo func()) {
	grpclog.SetLoggerV2(zapgrpc.NewLogger(log.Named("grpc").WithOptions(zap.IncreaseLevel(zap.ErrorLevel))))
	return zap.RedirectStdLog(log.Named("go"))
}

// errorFields are an error with what to do about it, as the command line says both.
func errorFields(err error) []zap.Field {
	fields := []zap.Field{zap.Error(err)}
	if remedy := describe(err).Remedy; remedy != "" {
		fields = append(fields, zap.String("remedy", remedy))
	}
	return fields
}

// storeMetrics is what the metrics hear of the store.
type storeMetrics interface {
	Evicted(class, reason string, bytes int64)
	Corrupted(class string)
	Problem(err error)
}
