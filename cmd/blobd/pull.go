package main

import (
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

func newPullCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "pull REF",
		Short: "Make an archive ready, and say what it is",
		Long: `Pull resolves the reference and brings the manifest and the index of its archive into the cache. Files are
fetched when they are read; with --all they are fetched now.`,
		Example: `  blobd pull registry.example/team/assets:v1
  blobd pull --all registry.example/team/assets:v1
  blobd pull --max-age 0 -o json registry.example/team/assets:v1 | jq -r .digest`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeRef,
	}
	flags := addReadFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "fetch every file into the cache")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, archive, err := a.open(cmd.Context(), args[0], flags)
		if err != nil {
			return err
		}
		defer c.Close()
		out := describeArchive(archive)
		if all {
			p, err := a.prefetch(cmd.Context(), c, archive.Reference, nil, flags.options())
			if err != nil {
				return err
			}
			out.Fetched = &p
		}
		return a.print(out, out.text)
	}
	return cmd
}

// jsonArchive describes a resolved archive.
type jsonArchive struct {
	Reference    string     `json:"reference"`
	Digest       string     `json:"digest"`
	MediaType    string     `json:"media_type"`
	ArtifactType string     `json:"artifact_type,omitempty"`
	Files        int64      `json:"files"`
	Size         int64      `json:"size"`
	StoredSize   int64      `json:"stored_size"`
	Stale        bool       `json:"stale"`
	AgeSeconds   float64    `json:"age_seconds"`
	Steps        []jsonStep `json:"steps"`
	Fetched      *fetched   `json:"fetched,omitempty"`

	resolution client.Resolution
}

func describeArchive(a *client.Archive) jsonArchive {
	return jsonArchive{
		Reference: a.Reference, Digest: a.Digest, MediaType: a.MediaType, ArtifactType: a.ArtifactType,
		Files: a.Files, Size: a.Size, StoredSize: a.StoredSize, Stale: a.Stale, AgeSeconds: a.Age.Seconds(),
		Steps: jsonSteps(a.Steps), resolution: a.Resolution,
	}
}

func (j jsonArchive) text(w io.Writer) {
	checked := ""
	switch {
	case j.Stale:
		checked = short(j.resolution.Age) + " ago: stale, the registry can't be had"
	case j.AgeSeconds > 0:
		checked = short(j.resolution.Age) + " ago"
	}
	done := ""
	if j.Fetched != nil {
		done = j.Fetched.String()
	}
	fields(w,
		field{"reference", j.Reference},
		field{"digest", j.Digest},
		field{"type", j.ArtifactType},
		field{"files", humanize.Comma(j.Files)},
		field{"size", human(j.Size) + ", " + human(j.StoredSize) + " in the registry"},
		field{"checked", checked},
		field{"answered", where(j.resolution.Steps)},
		field{"fetched", done},
	)
}
