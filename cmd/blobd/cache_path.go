package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newCachePathCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "path",
		Short:   "Print the daemon's cache folder",
		Example: `  du -sh "$(blobd cache path)"`,
		Args:    takes(0, 0),
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, _ []string) error {
			r, err := admin.Status(ctx, &blobdv1.StatusRequest{})
			if err != nil {
				return err
			}
			out := struct {
				Path string `json:"path"`
			}{r.GetCacheDir()}
			return a.print(out, func(w io.Writer) { fmt.Fprintln(w, out.Path) })
		}),
	}
}
