package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
)

func newLsCommand(a *app) *cobra.Command {
	l := lister{app: a}
	cmd := &cobra.Command{
		Use:   "ls REF [PATH]",
		Short: "List the files of an archive",
		Long: `Ls lists a folder of an archive, its root where no path is given, by name. With -R it lists the whole tree below it,
one whole path a line. Folders end in a slash. Names are written as they are; on a terminal those with characters that
it would act on are quoted. With -o json each entry is an object on a line of its own.`,
		Example: `  blobd ls registry.example/team/assets:v1
  blobd ls -lR registry.example/team/assets:v1 css
  blobd ls -R registry.example/team/assets:v1 | grep '\.css$'`,
		Args:              takes(1, 2),
		ValidArgsFunction: a.completeRef,
	}
	cmd.Flags().BoolVarP(&l.long, "long", "l", false, "show mode, size and modification time")
	cmd.Flags().BoolVarP(&l.recursive, "recursive", "R", false, "list the whole tree, by whole paths")
	flags := new(readFlags)
	flags.freshness(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		folder, err := inside(append(args, "")[1])
		if err != nil {
			return err
		}
		c, archive, err := a.open(cmd.Context(), args[0], flags)
		if err != nil {
			return err
		}
		defer c.Close()
		a.noteStale(archive.Resolution)
		return l.list(archive.WithContext(cmd.Context()), folder, cmd)
	}
	return cmd
}

// lister prints entries.
type lister struct {
	app       *app
	long      bool
	recursive bool
	terminal  bool
}

// list prints what is in folder, or folder itself when it is a file.
func (l *lister) list(archive *client.Archive, folder string, cmd *cobra.Command) error {
	l.terminal = isTerminal(l.app.stdout)
	w := bufio.NewWriterSize(l.app.stdout, 64<<10)
	for e, err := range archive.List(cmd.Context(), folder, l.recursive) {
		if e, ok := errors.AsType[*client.Error](err); ok && fault.Reason(e.Reason) == fault.NotDirectory {
			fi, err := archive.Stat(folder)
			if err != nil {
				return err
			}
			if err := l.entry(w, fi.Sys().(*client.Entry), folder); err != nil {
				return err
			}
			return w.Flush()
		}
		if err != nil {
			w.Flush() // what was listed is right; the error says that there is more
			return err
		}
		name := e.Path
		if !l.recursive {
			name = path.Base(name)
		}
		if err := l.entry(w, e, name); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (l *lister) entry(w io.Writer, e *client.Entry, name string) error {
	if l.app.format == formatJSON {
		return writeJSON(w, describeEntry(e))
	}
	if e.Directory {
		name += "/"
	}
	if l.terminal {
		name = quoted(name)
	}
	if !l.long {
		_, err := fmt.Fprintln(w, name)
		return err
	}
	size := fmt.Sprint(e.Size)
	if e.Directory {
		size = "-"
	}
	_, err := fmt.Fprintf(w, "%s %12s  %s  %s\n", e.Mode(), size, modified(e), name)
	return err
}

// modified is an entry's time to the second in UTC, as wide where there is none.
func modified(e *client.Entry) string {
	if e.Modified.IsZero() {
		return fmt.Sprintf("%-20s", "-")
	}
	return e.Modified.UTC().Format(time.RFC3339)
}

// jsonEntry is an entry for programs.
type jsonEntry struct {
	Path     string `json:"path"`
	Type     string `json:"type"` // "file" or "directory"
	Size     int64  `json:"size"`
	Mode     string `json:"mode"` // permission bits in octal
	UID      uint32 `json:"uid"`
	GID      uint32 `json:"gid"`
	Modified string `json:"modified,omitempty"` // RFC 3339
	Digest   string `json:"digest,omitempty"`
	Encoding string `json:"encoding,omitempty"`
}

func describeEntry(e *client.Entry) jsonEntry {
	j := jsonEntry{
		Path: e.Path, Type: "file", Size: e.Size, Mode: fmt.Sprintf("%04o", e.Permissions), UID: e.UID, GID: e.GID,
		Digest: e.Digest, Encoding: e.Encoding,
	}
	if e.Directory {
		j.Type = "directory"
	}
	if !e.Modified.IsZero() {
		j.Modified = e.Modified.UTC().Format(time.RFC3339Nano)
	}
	return j
}
