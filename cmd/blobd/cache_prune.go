package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newCachePruneCommand(a *app) *cobra.Command {
	var (
		target    size
		unusedFor age
		dryRun    bool
	)
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Free what was not read for longest",
		Long: `Prune frees what was not read for longest until the caches hold no more than the target, and says what it could not
free and why. Pinned and opened entries stay.`,
		Example: `  blobd cache prune --target 2GiB
  blobd cache prune --unused-for 168h --dry-run`,
		Args: takes(0, 0),
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, _ []string) error {
			request := &blobdv1.PruneRequest{Target: target.value, DryRun: dryRun}
			if target.set && target.value == 0 {
				request.Target = 1 // 0 would be the default; no entry is as small as this
			}
			if unusedFor.set {
				request.UnusedFor = durationpb.New(unusedFor.value)
			}
			r, err := admin.Prune(ctx, request)
			if err != nil {
				return err
			}
			out := freed{
				DryRun: dryRun, Entries: r.GetFreedEntries(), Bytes: r.GetFreedBytes(), Kept: keptOf(r.GetKept()),
				Left: &r.Bytes,
			}
			return a.print(out, out.text)
		}),
	}
	cmd.Flags().Var(&target, "target", "how much the caches may hold then, as in 2GiB, or 0 (default 90 % of their limit, or with --unused-for 0)")
	cmd.Flags().Var(&unusedFor, "unused-for", "leave alone what was read within this time, as in 24h; without --target all else goes")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would go")
	return cmd
}
