package clienttest

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// admin hands every call to the test's own service, and is closed to all while there is none.
type admin struct {
	blobdv1.UnimplementedAdminServiceServer
	daemon *Daemon
}

var errAdminOnly = Status(codes.PermissionDenied, "ADMIN_ONLY", "the admin service is not open to this user",
	"ask root to name the user in admin_users", 0)

func unary[Q, R any](a admin, ctx context.Context, q Q, f func(blobdv1.AdminServiceServer, context.Context, Q) (R, error),
) (R, error) {
	s := a.daemon.admin.Load()
	if s == nil {
		var none R
		return none, errAdminOnly
	}
	return f(*s, ctx, q)
}

func (a admin) Status(ctx context.Context, r *blobdv1.StatusRequest) (*blobdv1.StatusResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Status)
}

func (a admin) Prune(ctx context.Context, r *blobdv1.PruneRequest) (*blobdv1.PruneResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Prune)
}

func (a admin) Remove(ctx context.Context, r *blobdv1.RemoveRequest) (*blobdv1.RemoveResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Remove)
}

func (a admin) Clear(ctx context.Context, r *blobdv1.ClearRequest) (*blobdv1.ClearResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Clear)
}

func (a admin) Pin(ctx context.Context, r *blobdv1.PinRequest) (*blobdv1.PinResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Pin)
}

func (a admin) Unpin(ctx context.Context, r *blobdv1.UnpinRequest) (*blobdv1.UnpinResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Unpin)
}

func (a admin) Login(ctx context.Context, r *blobdv1.LoginRequest) (*blobdv1.LoginResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Login)
}

func (a admin) Logout(ctx context.Context, r *blobdv1.LogoutRequest) (*blobdv1.LogoutResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.Logout)
}

func (a admin) ListLogins(ctx context.Context, r *blobdv1.ListLoginsRequest) (*blobdv1.ListLoginsResponse, error) {
	return unary(a, ctx, r, blobdv1.AdminServiceServer.ListLogins)
}

func (a admin) ListArtifacts(
	r *blobdv1.ListArtifactsRequest, stream grpc.ServerStreamingServer[blobdv1.ListArtifactsResponse],
) error {
	s := a.daemon.admin.Load()
	if s == nil {
		return errAdminOnly
	}
	return (*s).ListArtifacts(r, stream)
}

func (a admin) Verify(r *blobdv1.VerifyRequest, stream grpc.ServerStreamingServer[blobdv1.VerifyResponse]) error {
	s := a.daemon.admin.Load()
	if s == nil {
		return errAdminOnly
	}
	return (*s).Verify(r, stream)
}

func (a admin) WatchEvents(r *blobdv1.WatchEventsRequest, stream grpc.ServerStreamingServer[blobdv1.WatchEventsResponse]) error {
	s := a.daemon.admin.Load()
	if s == nil {
		return errAdminOnly
	}
	return (*s).WatchEvents(r, stream)
}
