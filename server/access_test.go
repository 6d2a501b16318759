package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
)

// callAdminAt makes the test binary call the admin service of the socket it names, and exit with the code of the answer.
const callAdminAt = "BLOBD_TEST_CALL_ADMIN_AT"

func callAdmin(socket string) int {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 99
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := blobdv1.NewBlobdServiceClient(conn).Pull(ctx, &blobdv1.PullRequest{}); err != nil {
		return 98 // reading is open to everybody
	}
	stream, err := blobdv1.NewAdminServiceClient(conn).ListArtifacts(ctx, &blobdv1.ListArtifactsRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	_, unaryErr := blobdv1.NewAdminServiceClient(conn).Status(ctx, &blobdv1.StatusRequest{})
	if (unaryErr == nil) != (status.Code(err) != codes.PermissionDenied) {
		return 97 // unary and streaming calls disagree
	}
	return int(status.Code(unaryErr))
}

// A connection that tells nothing of its peer may read, and no more.
func TestUnknownPrincipal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := startOn(t, newDomain(t, nil), l, l.Addr().String(), nil)
	if _, err := r.Pull(t.Context(), &blobdv1.PullRequest{}); err != nil {
		t.Error(err)
	}
	_, err = r.admin.Status(t.Context(), &blobdv1.StatusRequest{})
	wantStatus(t, "admin service", err, codes.PermissionDenied, fault.AdminOnly)
	stream, err := r.admin.Verify(t.Context(), &blobdv1.VerifyRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, "admin service, streaming", err, codes.PermissionDenied, fault.AdminOnly)
}
