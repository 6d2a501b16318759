package main

import (
	"bufio"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/internal/oci"
)

func newReferrersCommand(a *app) *cobra.Command {
	var artifactType string
	cmd := &cobra.Command{
		Use:   "referrers REF",
		Short: "List what refers to an artifact: signatures, bills of materials",
		Long: `Referrers lists the artifacts whose subject is what REF names: digest, type and size of the manifest of each. Where a
registry keeps no such list, the one is read that clients keep under a tag.`,
		Example: `  blobd referrers registry.example/team/site:v1
  blobd referrers --artifact-type application/spdx+json -o json registry.example/team/site:v1`,
		Args: takes(1, 1), ValidArgsFunction: a.completeRef,
	}
	flags := addRegistryFlags(cmd)
	cmd.Flags().StringVar(&artifactType, "artifact-type", "", "only those of this type")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := oci.ParseReference(args[0])
		if err != nil {
			return err
		}
		c, err := flags.client(nil, ref.Registry)
		if err != nil {
			return err
		}
		defer c.Close()
		_, list, err := c.Referrers(cmd.Context(), ref, artifactType)
		if err != nil {
			return err
		}
		return a.printReferrers(list)
	}
	return cmd
}

func (a *app) printReferrers(list []oci.Descriptor) error {
	w := bufio.NewWriter(a.stdout)
	if a.format == formatJSON {
		for _, d := range list {
			if err := writeJSON(w, d); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", d.Digest, oneLine(d.ArtifactType), human(d.Size))
	}
	tw.Flush()
	return w.Flush()
}
