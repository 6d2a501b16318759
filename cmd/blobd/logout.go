package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/credentials"
)

func newLogoutCommand(a *app) *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use:   "logout REGISTRY",
		Short: "Forget the login for a registry",
		Long: `Logout forgets what blobd login keeps; with --system, what the daemon keeps. Logins of Spin and of Docker are theirs to
forget.`,
		Example: `  blobd logout registry.example
  sudo blobd logout --system registry.example`,
		Args: takes(1, 1),
	}
	cmd.Flags().BoolVar(&system, "system", false, "the login of the daemon, instead of yours")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeLimit)
		defer cancel()
		return a.loggedInAt(ctx, system, typed), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, _, err := parseRegistry(args[0])
		if err != nil {
			return err
		}
		logout := a.logout
		if system {
			logout = a.systemLogout
		}
		found, err := logout(cmd.Context(), name)
		if err != nil {
			return err
		}
		report := logoutReport{name, found}
		return a.print(report, func(w io.Writer) {
			if found {
				fmt.Fprintf(w, "Logged out of %s\n", name)
			} else {
				fmt.Fprintf(w, "No login for %s was kept\n", name)
			}
		})
	}
	return cmd
}

// logoutReport is what a logout prints.
type logoutReport struct {
	Registry string `json:"registry"`
	Found    bool   `json:"found"`
}

func (a *app) logout(ctx context.Context, name string) (found bool, err error) {
	c, err := callersConfig()
	if err != nil {
		return false, err
	}
	return credentials.OpenFile(callersLogins(c)).Logout(ctx, name)
}

// systemLogout has the daemon forget one of its logins.
func (a *app) systemLogout(ctx context.Context, name string) (found bool, err error) {
	c, err := a.dial(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	r, err := c.Admin().Logout(ctx, &blobdv1.LogoutRequest{Registry: name})
	return r.GetFound(), err
}

// loggedInAt are the registries with a login that start with what was typed; none when they can't be had.
func (a *app) loggedInAt(ctx context.Context, system bool, typed string) []cobra.Completion {
	var names []cobra.Completion
	add := func(name string) {
		if strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
	}
	if !system {
		if c, err := callersConfig(); err == nil {
			list, _ := credentials.OpenFile(callersLogins(c)).Logins(ctx)
			for _, l := range list {
				add(l.Registry)
			}
		}
		return names
	}
	c, err := client.Dial(ctx, client.WithSocket(a.socket), client.WithStartTimeout(0))
	if err != nil {
		return nil
	}
	defer c.Close()
	r, err := c.Admin().ListLogins(ctx, &blobdv1.ListLoginsRequest{})
	if err != nil {
		return nil
	}
	for _, l := range r.GetLogins() {
		add(l.GetRegistry())
	}
	return names
}
