package server

import (
	"context"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
)

// Login implements AdminService.
func (s *adminService) Login(ctx context.Context, req *blobdv1.LoginRequest) (*blobdv1.LoginResponse, error) {
	if s.logins == nil {
		return nil, errNoLogins
	}
	l, checked, err := s.logins.Login(ctx, req.Registry, req.Username, req.Password)
	if err != nil {
		return nil, err
	}
	return &blobdv1.LoginResponse{Login: loginTo(l), Checked: checked}, nil
}

// Logout implements AdminService.
func (s *adminService) Logout(ctx context.Context, req *blobdv1.LogoutRequest) (*blobdv1.LogoutResponse, error) {
	if s.logins == nil {
		return nil, errNoLogins
	}
	found, err := s.logins.Logout(ctx, req.Registry)
	if err != nil {
		return nil, err
	}
	return &blobdv1.LogoutResponse{Found: found}, nil
}

// ListLogins implements AdminService.
func (s *adminService) ListLogins(ctx context.Context, _ *blobdv1.ListLoginsRequest) (*blobdv1.ListLoginsResponse, error) {
	if s.logins == nil {
		return nil, errNoLogins
	}
	list, err := s.logins.Logins(ctx)
	if err != nil {
		return nil, err
	}
	out := new(blobdv1.ListLoginsResponse)
	for _, l := range list {
		out.Logins = append(out.Logins, loginTo(l))
	}
	return out, nil
}

func loginTo(l Login) *blobdv1.Login {
	return &blobdv1.Login{Registry: l.Registry, Username: l.Username, Where: l.Where}
}

var errNoLogins = fault.New(fault.CredentialUnusable, "this daemon keeps no logins of its own")
