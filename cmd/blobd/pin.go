package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newPinCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin REF",
		Short: "Keep an artifact from eviction",
		Long: `Pin keeps an artifact, and what is cached of its files now or later, from eviction, until it is unpinned; it outlives
the daemon. What would not fit the cache is refused. A pin fetches no files: blobd prefetch does.`,
		Example:           `  blobd pin registry.example/team/assets:v1 && blobd prefetch registry.example/team/assets:v1`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeRef,
	}
	flags := new(readFlags)
	flags.freshness(cmd.Flags())
	cmd.RunE = a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, args []string) error {
		options := new(blobdv1.ReadOptions)
		for _, set := range flags.options() {
			set(options)
		}
		r, err := admin.Pin(ctx, &blobdv1.PinRequest{Reference: args[0], Options: options})
		if err != nil {
			return err
		}
		out := struct {
			Reference string `json:"reference"`
			Digest    string `json:"digest"`
			Size      int64  `json:"size"`
			Cached    int64  `json:"cached"`
		}{r.GetResolution().GetReference(), r.GetResolution().GetDigest(), r.GetSize(), r.GetCached()}
		return a.print(out, func(w io.Writer) {
			fmt.Fprintf(w, "pinned %s: %s when all of it is cached, %s now\n", out.Reference, human(out.Size), human(out.Cached))
		})
	})
	return cmd
}

func newUnpinCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "unpin REF",
		Short:             "End a pin",
		Example:           `  blobd unpin registry.example/team/assets:v1`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeRef,
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, args []string) error {
			r, err := admin.Unpin(ctx, &blobdv1.UnpinRequest{Reference: args[0]})
			if err != nil {
				return err
			}
			out := struct {
				Digest string `json:"digest"`
			}{r.GetDigest()}
			return a.print(out, func(w io.Writer) { fmt.Fprintf(w, "unpinned %s\n", out.Digest) })
		}),
	}
}
