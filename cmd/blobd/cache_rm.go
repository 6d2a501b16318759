package main

import (
	"context"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newCacheRmCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm REF",
		Short:             "Forget an artifact, and free what no other names",
		Example:           `  blobd cache rm registry.example/team/assets:v1`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeRef,
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, args []string) error {
			r, err := admin.Remove(ctx, &blobdv1.RemoveRequest{Reference: args[0]})
			if err != nil {
				return err
			}
			out := freed{
				Digest: r.GetDigest(), Entries: r.GetFreedEntries(), Bytes: r.GetFreedBytes(), Kept: keptOf(r.GetKept()),
			}
			return a.print(out, out.text)
		}),
	}
}
