package main

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/server"
)

// The exit codes are a contract with scripts.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitIntegrity   = 5 // or policy
	exitUnreachable = 6 // no daemon
	exitUpstream    = 7
	exitTimeout     = 8
	exitOverload    = 9
	// exitPipe is what a shell shows for a process that SIGPIPE ended, as it does one whose stdout nobody reads.
	exitPipe = 128 + 13
)

// exitOfCode is the exit code of what a daemon answered. Codes that are not here are exitOther; Unavailable and
// ResourceExhausted depend on whose trouble it is.
var exitOfCode = map[codes.Code]int{
	codes.InvalidArgument:    exitUsage,
	codes.OutOfRange:         exitUsage,
	codes.NotFound:           exitNotFound,
	codes.PermissionDenied:   exitDenied,
	codes.Unauthenticated:    exitDenied,
	codes.DataLoss:           exitIntegrity,
	codes.FailedPrecondition: exitIntegrity,
	codes.DeadlineExceeded:   exitTimeout,
}

// exitCode is the one table from errors to exit codes.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if closedPipe(err) {
		return exitPipe
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		return exitOf(e.Code, fault.Reason(e.Reason))
	}
	if _, ok := errors.AsType[*corruptError](err); ok {
		return exitIntegrity
	}
	if reason := fault.ReasonOf(err); reason != "" { // of this process, without a daemon between
		return exitOf(server.CodeOf(reason), reason)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitTimeout
	}
	return exitOther
}

// exitOf is the exit code of a failure that crossed the socket, or would have.
func exitOf(code codes.Code, reason fault.Reason) int {
	switch code {
	case codes.Unavailable:
		switch reason {
		case client.DaemonUnreachable, fault.Starting, fault.ShuttingDown:
			return exitUnreachable
		}
		return exitUpstream
	case codes.ResourceExhausted:
		if strings.HasPrefix(string(reason), "UPSTREAM_") {
			return exitUpstream
		}
		return exitOverload
	}
	if exit, ok := exitOfCode[code]; ok {
		return exit
	}
	return exitOther
}
