package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

func newCatCommand(a *app) *cobra.Command {
	var offset, length size
	cmd := &cobra.Command{
		Use:   "cat REF PATH…",
		Short: "Write files to stdout",
		Long: `Cat writes files to stdout, one after another, as their bytes arrive. All come from the one digest that the reference
resolved to. When a file turns out not to be what its archive says, its bytes may have been written already: the exit
code tells (--require-verified checks first).`,
		Example: `  blobd cat registry.example/team/assets:v1 index.html
  blobd cat --offset 1MiB --length 4KiB registry.example/team/assets:v1 data.bin`,
		Args:              takes(2, -1),
		ValidArgsFunction: a.completeRef,
	}
	cmd.Flags().Var(&offset, "offset", "start here in each file")
	cmd.Flags().Var(&length, "length", "write at most so many bytes of each file (default to its end)")
	flags := addReadFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		paths := make([]string, 0, len(args)-1)
		for _, arg := range args[1:] {
			path, err := inside(arg)
			if err != nil {
				return err
			}
			paths = append(paths, path)
		}
		c, archive, err := a.open(cmd.Context(), args[0], flags)
		if err != nil {
			return err
		}
		defer c.Close()
		a.noteStale(archive.Resolution)
		if flags.noCache && len(paths) > 1 && !offset.set && !length.set { // parts are not worth whole files
			if archive, err = a.anew(cmd.Context(), c, archive, paths, flags); err != nil {
				return err
			}
		}
		last := int64(-1)
		if length.set {
			last = length.value
		}
		for _, path := range paths {
			if err := a.cat(cmd.Context(), archive, path, offset.value, last); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// cat writes length bytes of a file, to its end when length is negative.
func (a *app) cat(ctx context.Context, archive *client.Archive, path string, offset, length int64) error {
	s, err := archive.WithContext(ctx).OpenRange(path, offset, length)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.WriteTo(a.stdout)
	return err
}
