package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
)

func newCopyCommand(a *app) *cobra.Command {
	var referrers bool
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy an artifact from one place in a registry to another",
		Long: `Copy brings any artifact, image or index with all that it names to another repository or registry, byte for byte, so
that its digest stays. Within one registry blobs are mounted and none moves. A DST without a tag gets that of SRC.

--plain-http and --ca-file are for both registries; the configuration's registries say it for each.`,
		Example: `  blobd copy registry.example/team/site:v1 registry.example/public/site:v1
  blobd copy --referrers ghcr.io/team/site@sha256:0123…cdef localhost:5000/team/site`,
		Args: takes(2, 2), ValidArgsFunction: a.completeRef,
	}
	flags := addRegistryFlags(cmd)
	flags.transfers(cmd)
	cmd.Flags().BoolVar(&referrers, "referrers", false, "copy what refers to it, too: signatures, bills of materials")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		src, err := oci.ParseReference(args[0])
		if err != nil {
			return err
		}
		dst, bare, err := parseTarget(args[1])
		if err != nil {
			return err
		}
		if bare {
			dst.Tag = src.Tag
		}
		m := a.meter("copying")
		c, err := flags.client(m.set, src.Registry, dst.Registry)
		if err != nil {
			return err
		}
		defer c.Close()
		done, err := c.Copy(cmd.Context(), src, dst, publish.CopyOptions{Referrers: referrers})
		m.stop()
		if err != nil {
			return err
		}
		report := copyReport{
			pushed: pushed{Reference: dst.String(), Digest: done.Digest.String()}, Source: src.String(),
			Manifests: done.Manifests, Referrers: done.Referrers,
			Sent: done.Sent, Mounted: done.Mounted, Present: done.Present, Transferred: done.Bytes,
		}
		return a.print(report, func(w io.Writer) { fmt.Fprintln(w, report) })
	}
	return cmd
}

// copyReport is what a copy prints.
type copyReport struct {
	pushed
	Source      string `json:"source"`
	Manifests   int    `json:"manifests"`
	Referrers   int    `json:"referrers"`
	Sent        int    `json:"blobs_sent"`
	Mounted     int    `json:"blobs_mounted"`
	Present     int    `json:"blobs_present"`
	Transferred int64  `json:"bytes_sent"`
}

func (r copyReport) String() string { return "Copied with digest " + r.Digest }
