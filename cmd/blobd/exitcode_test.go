package main

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
)

func TestExitCodes(t *testing.T) {
	for _, row := range []struct {
		code   codes.Code
		reason fault.Reason
		want   int
	}{
		{codes.InvalidArgument, fault.InvalidReference, 2},
		{codes.InvalidArgument, fault.IsDirectory, 2},
		{codes.OutOfRange, fault.OutOfRange, 2},
		{codes.NotFound, fault.FileUnknown, 3},
		{codes.NotFound, fault.ManifestUnknown, 3},
		{codes.PermissionDenied, fault.AdminOnly, 4},
		{codes.PermissionDenied, fault.UpstreamForbidden, 4},
		{codes.PermissionDenied, client.SocketDenied, 4},
		{codes.Unauthenticated, fault.UpstreamUnauthorized, 4},
		{codes.DataLoss, fault.DigestMismatch, 5},
		{codes.FailedPrecondition, fault.PinBudget, 5},
		{codes.Unavailable, client.DaemonUnreachable, 6},
		{codes.Unavailable, fault.ShuttingDown, 6},
		{codes.Unavailable, fault.Starting, 6},
		{codes.Unavailable, fault.UpstreamUnreachable, 7},
		{codes.Unavailable, fault.AuthServer, 7},
		{codes.ResourceExhausted, fault.UpstreamRateLimit, 7},
		{codes.DeadlineExceeded, fault.UpstreamTimeout, 8},
		{codes.DeadlineExceeded, "", 8},
		{codes.ResourceExhausted, fault.LocalOverload, 9},
		{codes.Internal, fault.Internal, 1},
		{codes.Canceled, "", 1},
		{codes.Unimplemented, "", 1},
	} {
		err := &client.Error{Code: row.code, Reason: string(row.reason)}
		if got := exitCode(err); got != row.want {
			t.Errorf("%v %s: exit %d, want %d", row.code, row.reason, got, row.want)
		}
		if got := exitCode(fmt.Errorf("x: %w", &fs.PathError{Err: err})); got != row.want {
			t.Errorf("%v %s, wrapped: exit %d, want %d", row.code, row.reason, got, row.want)
		}
	}
	for name, row := range map[string]struct {
		err  error
		want int
	}{
		"none":       {nil, 0},
		"usage":      {&usageError{}, 2},
		"corruption": {&corruptError{}, 5},
		"bad config": {fault.New(fault.InvalidArgument, "x"), 2},
		"partial":    {&partialError{first: &client.Error{Code: codes.NotFound}}, 3},
		"no login":   {fault.New(fault.UpstreamUnauthorized, "x"), 4},
		"no such":    {fmt.Errorf("x: %w", fault.New(fault.ManifestUnknown, "x")), 3},
		"lies":       {fault.New(fault.DigestMismatch, "x"), 5},
		"down":       {fault.New(fault.UpstreamUnreachable, "x"), 7},
		"too many":   {fault.New(fault.UpstreamRateLimit, "x"), 7},
		"a disk":     {&fault.Error{What: "x"}, 1},
		"any other":  {errors.New("x"), 1},
	} {
		if got := exitCode(row.err); got != row.want {
			t.Errorf("%s: exit %d, want %d", name, got, row.want)
		}
	}
}
