package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

func newStatCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stat REF [PATH]",
		Short: "Describe an archive, or a file or folder in it",
		Example: `  blobd stat registry.example/team/assets:v1
  blobd stat -o json registry.example/team/assets:v1 index.html | jq -r .digest`,
		Args:              takes(1, 2),
		ValidArgsFunction: a.completeRef,
	}
	flags := new(readFlags)
	flags.freshness(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := inside(append(args, "")[1])
		if err != nil {
			return err
		}
		c, archive, err := a.open(cmd.Context(), args[0], flags)
		if err != nil {
			return err
		}
		defer c.Close()
		if len(args) == 1 {
			out := describeArchive(archive)
			return a.print(out, out.text)
		}
		a.noteStale(archive.Resolution)
		fi, err := archive.WithContext(cmd.Context()).Stat(path)
		if err != nil {
			return err
		}
		e := fi.Sys().(*client.Entry)
		return a.print(describeEntry(e), func(w io.Writer) { entryText(w, e) })
	}
	return cmd
}

func entryText(w io.Writer, e *client.Entry) {
	j := describeEntry(e)
	if e.Directory {
		fields(w, field{"path", quoted(j.Path)}, field{"type", j.Type})
		return
	}
	fields(w,
		field{"path", quoted(j.Path)},
		field{"type", j.Type},
		field{"size", fmt.Sprintf("%s (%s)", human(j.Size), count(j.Size, "byte"))},
		field{"mode", fmt.Sprintf("%s (%s)", e.Mode(), j.Mode)},
		field{"owner", fmt.Sprintf("%d:%d", j.UID, j.GID)},
		field{"modified", j.Modified},
		field{"digest", j.Digest},
		field{"encoding", j.Encoding},
	)
}
