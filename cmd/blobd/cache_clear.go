package main

import (
	"context"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newCacheClearCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "clear [CACHE…]",
		Short: "Empty caches, but for what is pinned or in use",
		Long: `Clear empties the caches that are named (ref, manifest, index, content, block, memory), or all of them. What is pinned or in
use stays, and is counted.`,
		Example: `  blobd cache clear
  blobd cache clear ref`,
		Args:      takes(0, -1),
		ValidArgs: []string{"ref", "manifest", "index", "content", "block", "memory"},
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, args []string) error {
			r, err := admin.Clear(ctx, &blobdv1.ClearRequest{Caches: args})
			if err != nil {
				return err
			}
			out := freed{Entries: r.GetFreedEntries(), Bytes: r.GetFreedBytes(), Kept: keptOf(r.GetKept())}
			return a.print(out, out.text)
		}),
	}
}
