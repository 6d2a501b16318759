package main

import (
	"github.com/spf13/cobra"
)

func newCacheCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look after the cache",
		Long: `The commands of the cache are open to root, to the daemon's own user, and to those that its config names in
admin_users.`,
		Args: cobra.ArbitraryArgs,
		RunE: showHelp,
	}
	cmd.AddCommand(newCacheStatusCommand(a), newCacheLsCommand(a), newCacheVerifyCommand(a), newCachePruneCommand(a),
		newCacheRmCommand(a), newCacheClearCommand(a), newCachePathCommand(a))
	return cmd
}
