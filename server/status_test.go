package server_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

// detailsOf returns a status's details; nil for those it lacks.
func detailsOf(err error) (info *errdetails.ErrorInfo, retry *errdetails.RetryInfo) {
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	return info, retry
}

func wantStatus(t *testing.T, name string, err error, code codes.Code, reason fault.Reason) {
	t.Helper()
	info, _ := detailsOf(err)
	if status.Code(err) != code || info.GetReason() != string(reason) || info.GetDomain() != "blobd" {
		t.Errorf("%s: got %v with %v, want %v with %s", name, err, info, code, reason)
	}
}

// reasons reads every Reason out of the source of package fault.
func reasons(t *testing.T) []fault.Reason {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../internal/fault/fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []fault.Reason
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Reason" {
			for _, v := range spec.Values {
				s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, fault.Reason(s))
			}
		}
		return true
	})
	return out
}

// Every reason crosses the socket as itself, with the code of its family; only INTERNAL is INTERNAL.
func TestEveryReasonHasItsCode(t *testing.T) {
	want := map[codes.Code]string{
		codes.InvalidArgument:  "INVALID_REFERENCE INVALID_DIGEST INVALID_PATH INVALID_ARGUMENT IS_DIRECTORY NOT_DIRECTORY",
		codes.OutOfRange:       "OUT_OF_RANGE",
		codes.NotFound:         "MANIFEST_UNKNOWN BLOB_UNKNOWN FILE_UNKNOWN ARTIFACT_UNKNOWN",
		codes.PermissionDenied: "ADMIN_ONLY UPSTREAM_UNAUTHORIZED UPSTREAM_FORBIDDEN",
		codes.Unavailable: "UPSTREAM_UNREACHABLE UPSTREAM_DNS UPSTREAM_5XX UPSTREAM_REDIRECT UPSTREAM_SLOW " +
			"UPSTREAM_TIMEOUT AUTH_SERVER STARTING SHUTTING_DOWN",
		codes.ResourceExhausted: "UPSTREAM_RATE_LIMIT LOCAL_OVERLOAD",
		codes.DataLoss:          "TRUNCATED SIZE_MISMATCH DIGEST_MISMATCH BAD_RANGE",
		codes.FailedPrecondition: "UPSTREAM_TLS UPSTREAM_PROTOCOL AUTH_REALM REDIRECT_LOOP ADDRESS_REFUSED " +
			"CREDENTIAL_UNUSABLE TOO_LARGE MEDIA_TYPE MANIFEST_INVALID INDEX_INVALID ARTIFACT_UNSUPPORTED PIN_BUDGET PINNED",
		codes.Internal: "INTERNAL",
	}
	retried := "UPSTREAM_UNREACHABLE UPSTREAM_RATE_LIMIT LOCAL_OVERLOAD STARTING SHUTTING_DOWN"
	codeOf := map[fault.Reason]codes.Code{}
	for code, names := range want {
		for _, name := range strings.Fields(names) {
			codeOf[fault.Reason(name)] = code
		}
	}

	d := newDomain(t, nil)
	var fails error
	d.pull = func(context.Context, string, pullthrough.Options) error { return fails }
	r := start(t, d, nil)
	all := reasons(t)
	if len(all) < 40 {
		t.Fatalf("found only %d reasons", len(all))
	}
	for _, reason := range all {
		code, known := codeOf[reason]
		if !known {
			t.Errorf("%s: this test has no code for it", reason)
		}
		for _, fails = range []error{fault.New(reason, "x"), reason, fmt.Errorf("deep: %w", fault.New(reason, "x"))} {
			_, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: ref})
			wantStatus(t, string(reason), err, code, reason)
			_, retry := detailsOf(err)
			if wantRetry := slicesContains(retried, reason); (retry != nil) != wantRetry {
				t.Errorf("%s: RetryInfo %v", reason, retry)
			}
		}
	}
}

func slicesContains(names string, reason fault.Reason) bool {
	return strings.Contains(" "+names+" ", " "+string(reason)+" ")
}

func TestStatus(t *testing.T) {
	cases := []struct {
		name    string
		err     error
		code    codes.Code
		reason  fault.Reason
		message string
		remedy  string
		retry   time.Duration
	}{
		{
			"a remedy", fault.New(fault.FileUnknown, "no such file").Try("run ls"),
			codes.NotFound, fault.FileUnknown, "no such file", "run ls", 0,
		},
		{
			"a time to try again", &fault.Error{Reason: fault.UpstreamRateLimit, What: "slow down", RetryAfter: 7 * time.Second},
			codes.ResourceExhausted, fault.UpstreamRateLimit, "slow down", "", 7 * time.Second,
		},
		{
			"a time to try again where the table has none",
			&fault.Error{Reason: fault.Upstream5xx, What: "503", RetryAfter: time.Minute},
			codes.Unavailable, fault.Upstream5xx, "503", "", time.Minute,
		},
		{
			"a cause", fmt.Errorf("read: %w", fault.Wrap(fault.DigestMismatch, errors.New("sha256 differs"), "blob x")),
			codes.DataLoss, fault.DigestMismatch, "read: blob x: sha256 differs", "", 0,
		},
		{"a stranger", errors.New("disk on fire"), codes.Internal, fault.Internal, "disk on fire", "", 0},
		{"a reason from the future", fault.New("NEW_REASON", "x"), codes.Internal, fault.Internal, "x", "", 0},
		{"somebody else's deadline", fault.Wrap(fault.UpstreamTimeout, context.DeadlineExceeded, "host"),
			codes.Unavailable, fault.UpstreamTimeout, "host: context deadline exceeded", "", 0},
		{"bytes that are no text", errors.New("bad \xff path"), codes.Internal, fault.Internal, "bad \uFFFD path", "", 0},
	}
	d := newDomain(t, nil)
	var fails error
	d.pull = func(context.Context, string, pullthrough.Options) error { return fails }
	r := start(t, d, nil)
	for _, c := range cases {
		fails = c.err
		_, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: ref})
		wantStatus(t, c.name, err, c.code, c.reason)
		info, retry := detailsOf(err)
		if got := status.Convert(err).Message(); got != c.message {
			t.Errorf("%s: message %q, want %q", c.name, got, c.message)
		}
		if got := info.GetMetadata()["remedy"]; got != c.remedy {
			t.Errorf("%s: remedy %q, want %q", c.name, got, c.remedy)
		}
		if got := retry.GetRetryDelay().AsDuration(); got != c.retry {
			t.Errorf("%s: retry after %s, want %s", c.name, got, c.retry)
		}
	}

	fails = errors.New(strings.Repeat("é", 100_000))
	_, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: ref})
	wantStatus(t, "a very long message", err, codes.Internal, fault.Internal)
	if n := len(status.Convert(err).Message()); n > 4<<10 {
		t.Errorf("a message of %d bytes", n)
	}
}

// The caller's own deadline is told as such, however the work that it broke names it.
func TestDeadline(t *testing.T) {
	d := newDomain(t, nil)
	told := make(chan error, 1)
	d.pull = func(ctx context.Context, _ string, _ pullthrough.Options) error {
		<-ctx.Done()
		told <- ctx.Err()
		return fault.Wrap(fault.UpstreamTimeout, ctx.Err(), "host")
	}
	r := start(t, d, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := r.Pull(ctx, &blobdv1.PullRequest{Reference: ref})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
	if err := <-told; err == nil {
		t.Error("the domain did not hear of the deadline")
	}
}
