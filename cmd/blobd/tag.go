package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/internal/oci"
)

func newTagCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tag REF TAG…",
		Short: "Give an artifact more tags",
		Long:  `Tag gives what REF names more tags in its repository. No blob moves; a tag that exists moves to it.`,
		Example: `  blobd tag registry.example/team/site:v1.2.3 v1.2 latest
  blobd tag localhost:5000/team/site@sha256:0123…cdef stable`,
		Args: takes(2, -1), ValidArgsFunction: a.completeRef,
	}
	flags := addRegistryFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := oci.ParseReference(args[0])
		if err != nil {
			return err
		}
		if err := checkTags(ref, args[1:]); err != nil {
			return err
		}
		c, err := flags.client(nil, ref.Registry)
		if err != nil {
			return err
		}
		defer c.Close()
		digest, err := c.Tag(cmd.Context(), ref, args[1:]...)
		if err != nil {
			return err
		}
		report := pushed{Reference: ref.String(), Digest: digest.String(), Tags: args[1:]}
		return a.print(report, func(w io.Writer) { fmt.Fprintln(w, "Tagged with digest", report.Digest) })
	}
	return cmd
}
