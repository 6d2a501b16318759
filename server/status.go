package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/blobd/blobd/internal/fault"
)

// What happens between the caller and this server, below every room that knows faults.
const (
	canceled         fault.Reason = "CANCELED"          // the caller went away
	deadlineExceeded fault.Reason = "DEADLINE_EXCEEDED" // the caller's own deadline
	readerIdle       fault.Reason = "READER_IDLE"       // the caller took nothing for the idle time-out
)

const (
	// defaultRetry is the RetryInfo of a failure that is worth another try and does not say when: long enough for a
	// daemon to restart, short enough for somebody who waits.
	defaultRetry = time.Second
	// maxMessage cuts a status message, in bytes. Statuses travel in HTTP/2 headers, which peers limit; foreign clients
	// often to 8 KiB, with the details in base64 beside it.
	maxMessage = 2 << 10
)

// kind is how a reason crosses the socket.
type kind struct {
	code  codes.Code
	retry bool // with RetryInfo, even when the failure does not say when
}

// kinds is the one table of error ⇄ code.
var kinds = map[fault.Reason]kind{
	fault.InvalidReference: {code: codes.InvalidArgument},
	fault.InvalidDigest:    {code: codes.InvalidArgument},
	fault.InvalidPath:      {code: codes.InvalidArgument},
	fault.InvalidArgument:  {code: codes.InvalidArgument},
	fault.IsDirectory:      {code: codes.InvalidArgument},
	fault.NotDirectory:     {code: codes.InvalidArgument},
	fault.OutOfRange:       {code: codes.OutOfRange},
	fault.AdminOnly:        {code: codes.PermissionDenied},
	fault.ManifestUnknown:  {code: codes.NotFound},
	fault.BlobUnknown:      {code: codes.NotFound},
	fault.FileUnknown:      {code: codes.NotFound},
	fault.ArtifactUnknown:  {code: codes.NotFound},

	fault.UpstreamUnreachable:  {code: codes.Unavailable, retry: true},
	fault.UpstreamDNS:          {code: codes.Unavailable},
	fault.UpstreamTLS:          {code: codes.FailedPrecondition},
	fault.UpstreamUnauthorized: {code: codes.PermissionDenied},
	fault.UpstreamForbidden:    {code: codes.PermissionDenied},
	fault.UpstreamRateLimit:    {code: codes.ResourceExhausted, retry: true},
	fault.Upstream5xx:          {code: codes.Unavailable},
	fault.UpstreamProtocol:     {code: codes.FailedPrecondition},
	fault.UpstreamRedirect:     {code: codes.Unavailable},
	fault.UpstreamSlow:         {code: codes.Unavailable},
	fault.UpstreamTimeout:      {code: codes.Unavailable},
	fault.AuthServer:           {code: codes.Unavailable},
	fault.AuthRealm:            {code: codes.FailedPrecondition},
	fault.RedirectLoop:         {code: codes.FailedPrecondition},
	fault.AddressRefused:       {code: codes.FailedPrecondition},
	fault.CredentialUnusable:   {code: codes.FailedPrecondition},

	fault.Truncated:           {code: codes.DataLoss},
	fault.SizeMismatch:        {code: codes.DataLoss},
	fault.DigestMismatch:      {code: codes.DataLoss},
	fault.BadRange:            {code: codes.DataLoss},
	fault.TooLarge:            {code: codes.FailedPrecondition},
	fault.MediaType:           {code: codes.FailedPrecondition},
	fault.ManifestInvalid:     {code: codes.FailedPrecondition},
	fault.IndexInvalid:        {code: codes.FailedPrecondition},
	fault.ArtifactUnsupported: {code: codes.FailedPrecondition},

	fault.LocalOverload: {code: codes.ResourceExhausted, retry: true},
	fault.PinBudget:     {code: codes.FailedPrecondition},
	fault.Pinned:        {code: codes.FailedPrecondition},
	fault.Starting:      {code: codes.Unavailable, retry: true},
	fault.ShuttingDown:  {code: codes.Unavailable, retry: true},
	fault.Internal:      {code: codes.Internal},

	canceled:         {code: codes.Canceled},
	deadlineExceeded: {code: codes.DeadlineExceeded},
	readerIdle:       {code: codes.Aborted},
}

// CodeOf is the code with which a reason crosses the socket; Unknown for one that never does.
func CodeOf(r fault.Reason) codes.Code {
	if k, ok := kinds[r]; ok {
		return k.code
	}
	return codes.Unknown
}

// toStatus turns what a handler returned into a status with ErrorInfo and, where another try makes sense, RetryInfo.
// What is a status already, such as gRPC's own, passes as it is.
func toStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	reason := reasonOf(ctx, err)
	k := kinds[reason]
	info := &errdetails.ErrorInfo{Domain: "blobd", Reason: string(reason)}
	retry := time.Duration(0)
	if k.retry {
		retry = defaultRetry
	}
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Reason == reason {
		if e.Remedy != "" {
			info.Metadata = map[string]string{"remedy": printable(e.Remedy)}
		}
		if e.RetryAfter > 0 {
			retry = e.RetryAfter
		}
	}
	details := []protoadapt.MessageV1{info}
	if retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	st, detailErr := status.New(k.code, printable(err.Error())).WithDetails(details...)
	if detailErr != nil { // can't be: neither message has a field that fails to marshal
		return status.Error(k.code, printable(err.Error()))
	}
	return st.Err()
}

// reasonOf names err. A caller whose own context has ended gets that as the reason, whatever it broke on the way; the
// end of any other context is a fault of the room that owns it.
func reasonOf(ctx context.Context, err error) fault.Reason {
	switch {
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return deadlineExceeded
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return canceled
	}
	reason := fault.ReasonOf(err)
	if _, known := kinds[reason]; known {
		return reason
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return deadlineExceeded
	case errors.Is(err, context.Canceled):
		return canceled
	}
	return fault.Internal
}

// reasonIn reads the reason back from a status; "" where it has none.
func reasonIn(st *status.Status) string {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// printable makes s fit a status: valid UTF-8, since statuses are protobuf, and not longer than maxMessage.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "…"
}
