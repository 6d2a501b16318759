package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/credentials"
)

func newLogoutCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "logout REGISTRY",
		Short:             "Forget the login for a registry",
		Long:              `Logout forgets what blobd login keeps. Logins of Spin and of Docker are theirs to forget.`,
		Example:           `  blobd logout registry.example`,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, _, err := parseRegistry(args[0])
		if err != nil {
			return err
		}
		c, err := callersConfig()
		if err != nil {
			return err
		}
		found, err := credentials.OpenFile(callersLogins(c)).Logout(cmd.Context(), name)
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
