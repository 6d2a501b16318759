package main

import (
	"github.com/spf13/cobra"
)

func newManifestCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest REF",
		Short: "Write a manifest to stdout",
		Long: `Manifest writes the manifest of a reference to stdout, byte for byte as the registry has it, whatever kind of artifact
it is of.`,
		Example:           `  blobd manifest registry.example/team/assets:v1 | sha256sum`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeRef,
	}
	flags := new(readFlags)
	flags.freshness(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close()
		res, raw, err := c.Manifest(cmd.Context(), args[0], flags.options()...)
		if err != nil {
			return err
		}
		a.noteStale(res)
		_, err = a.stdout.Write(raw)
		return err
	}
	return cmd
}
