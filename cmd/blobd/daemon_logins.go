package main

import (
	"cmp"
	"context"

	"go.uber.org/zap"

	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/publish"
	"github.com/blobd/blobd/server"
)

// daemonsLogins is the file of logins that are the daemon's own.
func daemonsLogins(c config.Config) string {
	return cmp.Or(c.Credentials.LoginFile, credentials.DaemonFile())
}

// systemLogins keeps the logins that admins give the daemon. Its upstream side reads that file again when it changes, so what
// happens here is in force with the next request.
type systemLogins struct{ d *daemon }

var _ server.Logins = systemLogins{}

func (s systemLogins) file() *credentials.File {
	return credentials.OpenFile(daemonsLogins(s.d.inForce()))
}

// Login tries a login as the daemon reaches registries, and keeps it.
func (s systemLogins) Login(ctx context.Context, registry, username, password string) (server.Login, bool, error) {
	name, host, err := parseRegistry(registry)
	if err != nil {
		return server.Login{}, false, err
	}
	cred := credentials.Credential{Username: username, Password: password}
	if cred.Anonymous() {
		return server.Login{}, false, fault.New(fault.InvalidArgument, "login to %s: it needs a user name and a password", name)
	}
	c, err := publish.New(publish.Options{Registries: publishRegistries(s.d.inForce()), UserAgent: "blobd/" + s.d.build.Version})
	if err != nil {
		return server.Login{}, false, err
	}
	defer c.Close()
	asks, err := c.Check(ctx, host, cred)
	if err != nil {
		return server.Login{}, false, err
	}
	where, err := s.file().Login(ctx, name, cred)
	if err != nil {
		return server.Login{}, false, err
	}
	s.d.log.Info("a login is kept", zap.String("registry", name), zap.String("username", username), zap.String("where", where))
	return server.Login{Registry: name, Username: username, Where: where}, asks, nil
}

// Logout forgets a login.
func (s systemLogins) Logout(ctx context.Context, registry string) (bool, error) {
	name, _, err := parseRegistry(registry)
	if err != nil {
		return false, err
	}
	found, err := s.file().Logout(ctx, name)
	if found {
		s.d.log.Info("a login is forgotten", zap.String("registry", name))
	}
	return found, err
}

// Logins lists the daemon's own logins.
func (s systemLogins) Logins(ctx context.Context) ([]server.Login, error) {
	list, err := s.file().Logins(ctx)
	out := make([]server.Login, len(list))
	for i, l := range list {
		out[i] = server.Login(l)
	}
	return out, err
}
