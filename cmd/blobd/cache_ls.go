package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newCacheLsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the artifacts that the cache knows",
		Long: `Ls lists the artifacts of the catalogue: what their files take altogether, and what of it is on disk (what artifacts share
counts for each of them). With -o json each artifact is an object on a line of its own.`,
		Example: `  blobd cache ls
  blobd cache ls -o json | jq -r 'select(.pinned) | .digest'`,
		Args: takes(0, 0),
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, _ []string) error {
			stream, err := admin.ListArtifacts(ctx, &blobdv1.ListArtifactsRequest{})
			if err != nil {
				return err
			}
			w := bufio.NewWriter(a.stdout)
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			if a.format != formatJSON {
				fmt.Fprintln(table, "REPOSITORY\tTAGS\tDIGEST\tFILES\tSIZE\tCACHED\tUSED\tPINNED")
			}
			for {
				m, err := stream.Recv()
				if err == io.EOF {
					break
				}
				if err != nil {
					return err
				}
				for _, r := range m.GetArtifacts() {
					if a.format == formatJSON {
						if err := writeJSON(w, describeArtifact(r)); err != nil {
							return err
						}
						continue
					}
					artifactRow(table, r)
				}
			}
			if err := table.Flush(); err != nil {
				return err
			}
			return w.Flush()
		}),
	}
}

// jsonArtifact is an artifact of the catalogue for programs.
type jsonArtifact struct {
	Reference    string   `json:"reference"`
	Digest       string   `json:"digest"`
	Tags         []string `json:"tags"`
	ArtifactType string   `json:"artifact_type,omitempty"`
	Files        int64    `json:"files"`
	Size         int64    `json:"size"`
	Cached       int64    `json:"cached"`
	Pinned       bool     `json:"pinned"`
	LastUsed     string   `json:"last_used,omitempty"` // RFC 3339
}

func describeArtifact(r *blobdv1.Artifact) jsonArtifact {
	j := jsonArtifact{
		Reference: r.GetRegistry() + "/" + r.GetRepository() + "@" + r.GetDigest(), Digest: r.GetDigest(),
		Tags: append([]string{}, r.GetTags()...), ArtifactType: r.GetArtifactType(), Files: r.GetFiles(),
		Size: r.GetSize(), Cached: r.GetCached(), Pinned: r.GetPinned(),
	}
	if r.GetLastUsed().IsValid() {
		j.LastUsed = r.GetLastUsed().AsTime().Format(time.RFC3339)
	}
	return j
}

// artifactRow writes one line of the table. The digest is cut: what names the artifact to a command is in -o json.
func artifactRow(w io.Writer, r *blobdv1.Artifact) {
	used, pinned := "-", ""
	if r.GetLastUsed().IsValid() {
		used = short(max(time.Since(r.GetLastUsed().AsTime()), 0)) + " ago"
	}
	if r.GetPinned() {
		pinned = "pinned"
	}
	tags := strings.Join(r.GetTags(), ",")
	if tags == "" {
		tags = "-"
	}
	fmt.Fprintf(w, "%s/%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.GetRegistry(), r.GetRepository(), tags,
		shortDigest(r.GetDigest()), r.GetFiles(), human(r.GetSize()), human(r.GetCached()), used, pinned)
}

// shortDigest keeps the algorithm and 12 digits, as other tools do.
func shortDigest(d string) string {
	if algorithm, hex, ok := strings.Cut(d, ":"); ok && len(hex) > 12 {
		return algorithm + ":" + hex[:12]
	}
	return d
}
