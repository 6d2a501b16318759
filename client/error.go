package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reasons that arise on this side of the socket. All others are the daemon's; its contract lists them.
const (
	DaemonUnreachable = "DAEMON_UNREACHABLE" // nobody listens on the socket, or the connection broke
	SocketDenied      = "SOCKET_DENIED"      // this user may not open the socket
	BadAnswer         = "BAD_ANSWER"         // the daemon's stream contradicts itself
)

// Error is why a call failed. Under errors.Is it matches fs.ErrNotExist, fs.ErrInvalid, fs.ErrPermission,
// context.Canceled and context.DeadlineExceeded as its Code says, and io.ErrUnexpectedEOF when the reason is BadAnswer.
type Error struct {
	Code       codes.Code
	Reason     string        // the contract's name for what went wrong, as FILE_UNKNOWN; empty where there is none
	Message    string        // what failed and why
	Remedy     string        // what the user can do; may be empty
	RetryAfter time.Duration // when another try makes sense; 0 where unknown
}

// Error is the message alone; the remedy is for those who talk to a person.
func (e *Error) Error() string { return e.Message }

// Is matches the sentinels of io/fs, io and context.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Code == codes.NotFound
	case fs.ErrInvalid:
		return e.Code == codes.InvalidArgument || e.Code == codes.OutOfRange
	case fs.ErrPermission:
		return e.Code == codes.PermissionDenied || e.Code == codes.Unauthenticated
	case context.Canceled:
		return e.Code == codes.Canceled
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	case io.ErrUnexpectedEOF:
		return e.Reason == BadAnswer
	}
	return false
}

// GRPCStatus lets status.FromError and status.Code see through the error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// fromStatus turns what gRPC returned into an *Error; nil and io.EOF stay as they are. lost tells why the daemon can't
// be connected to; it is asked only when the connection is gone.
func fromStatus(err error, lost func() *Error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	st := status.Convert(err)
	e := &Error{Code: st.Code(), Message: st.Message()}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = d.GetReason()
			e.Remedy = d.GetMetadata()["remedy"]
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	if e.Reason != "" {
		return e
	}
	// gRPC speaks here, not the daemon: its wording means nothing to a user.
	switch e.Code {
	case codes.Unavailable:
		return lost()
	case codes.Canceled:
		return fromContext(context.Canceled)
	case codes.DeadlineExceeded:
		return fromContext(context.DeadlineExceeded)
	case codes.ResourceExhausted:
		return tooLarge(e)
	case codes.Unimplemented:
		e.Message, e.Remedy = "the daemon does not know this request", "run the same version of blobd on both sides"
	}
	return e
}

// tooLarge is what gRPC says of a message that is larger than its receiver takes: the daemon, of a request, or this side,
// of an answer. An e that says something else stays as it is.
func tooLarge(e *Error) *Error {
	var size, limit int
	if n, _ := fmt.Sscanf(e.Message, "grpc: received message larger than max (%d vs. %d)", &size, &limit); n != 2 {
		return e
	}
	if limit == maxMessage {
		return badAnswer("the daemon's answer has %d bytes, %d is the most", size, limit)
	}
	return &Error{
		Code: codes.InvalidArgument, Reason: "INVALID_ARGUMENT",
		Message: fmt.Sprintf("the request has %d bytes, and the daemon takes %d at most", size, limit),
		Remedy:  "ask for less at once, such as fewer patterns",
	}
}

func fromContext(err error) *Error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: codes.DeadlineExceeded, Message: "timed out"}
	}
	return &Error{Code: codes.Canceled, Message: "interrupted"}
}

func badAnswer(format string, args ...any) *Error {
	return &Error{
		Code: codes.Internal, Reason: BadAnswer, Message: fmt.Sprintf(format, args...),
		Remedy: "try again; if it stays, run the same version of blobd on both sides",
	}
}
