package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

func newPrefetchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prefetch REF [PATTERN…]",
		Short: "Bring files into the cache",
		Long: `Prefetch brings the files that match a pattern into the cache; without a pattern, all of them. A pattern is matched
against the whole path and against each of its parent folders: * matches anything but a slash.`,
		Example: `  blobd prefetch registry.example/team/assets:v1
  blobd prefetch registry.example/team/assets:v1 css 'img/*.png'`,
		Args:              takes(1, -1),
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
		p, err := a.prefetch(cmd.Context(), c, args[0], args[1:], flags.options())
		if err != nil {
			return err
		}
		return a.print(p, func(w io.Writer) { fmt.Fprintln(w, p) })
	}
	return cmd
}

// fetched is what a prefetch did.
type fetched struct {
	Reference string `json:"reference"`
	Files     int64  `json:"files"`
	Size      int64  `json:"size"`
	Unkept    int64  `json:"unkept"`
}

func (f fetched) String() string {
	s := count(f.Files, "file") + ", " + human(f.Size)
	if f.Unkept > 0 {
		s += fmt.Sprintf("; %s did not fit the cache", count(f.Unkept, "file"))
	}
	return s
}

func (a *app) prefetch(
	ctx context.Context, c *client.Client, ref string, patterns []string, opts []client.ReadOption,
) (fetched, error) {
	m := a.meter("fetching")
	res, last, err := c.Prefetch(ctx, ref, patterns, func(p client.Progress) { m.set(p.BytesDone, p.BytesTotal) }, opts...)
	m.stop()
	if err != nil {
		return fetched{}, err
	}
	a.noteStale(res)
	return fetched{Reference: res.Reference, Files: last.FilesDone, Size: last.BytesDone, Unkept: last.FilesUnkept}, nil
}
