package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

func newCpCommand(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "cp REF[:/PATH] DEST",
		Short: "Copy files out of an archive",
		Long: `Cp copies a file, or all files below a folder, out of an archive. Without a PATH that is the whole archive.

A file becomes DEST, or goes into DEST where that is a folder or ends in a slash; with DEST - it goes to stdout. The
files below a folder go to the same places below DEST, which is made where it does not exist. Each file appears whole,
checked, with its modification time, and belongs to you. Nothing is written outside DEST, through links neither, and
nothing is overwritten without --force.

A file gets the permission bits that the archive has for it, whatever your umask, and never setuid, setgid or sticky. A
folder that is made gets 0777 less your umask; the archive's folders have no permissions of their own.

When some files can't be copied the others are, and each that could not is named on stderr.`,
		Example: `  blobd cp registry.example/team/assets:v1 ./assets
  blobd cp registry.example/team/assets:v1:/css ./css
  blobd cp --force localhost:5000/team/assets:v1:/index.html .`,
		Args: takes(2, 2), ValidArgsFunction: a.completeCopy,
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite files that exist")
	flags := addReadFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, from, err := splitSource(args[0])
		if err != nil {
			return err
		}
		c, archive, err := a.open(cmd.Context(), ref, flags)
		if err != nil {
			return err
		}
		defer c.Close()
		a.noteStale(archive.Resolution)
		switch {
		case !flags.noCache:
			defer ahead(cmd.Context(), c, archive, from)()
		case args[1] != "-":
			if archive, err = a.anewBelow(cmd.Context(), c, archive, from, flags); err != nil {
				return err
			}
		}
		return a.cp(cmd.Context(), archive, from, args[1], force)
	}
	return cmd
}

// ahead has the daemon fetch what is below from while it is being copied: file by file each would cost a request, and
// neighbours come in one. It returns once that has begun; the returned func ends it. Its failures are the copies' to meet.
func ahead(ctx context.Context, c *client.Client, archive *client.Archive, from string) (end func()) {
	fi, err := archive.WithContext(ctx).Stat(from)
	if err != nil || !fi.IsDir() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	begun, ended := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	go func() {
		defer close(ended)
		defer begin()
		_, _, _ = c.Prefetch(ctx, archive.Reference, exactly(from), func(p client.Progress) {
			if p.FilesTotal > 0 {
				begin()
			}
		})
	}()
	<-begun
	return func() {
		cancel()
		<-ended
	}
}

// splitSource takes REF[:/PATH] apart. No reference holds ":/", so the first one ends it, whatever the path holds.
func splitSource(arg string) (ref, from string, err error) {
	ref, from, found := strings.Cut(arg, ":/")
	if ref == "" {
		return "", "", &usageError{why: fmt.Sprintf("cp: %q names no reference", arg), hint: "see `blobd cp --help`"}
	}
	if !found {
		return arg, ".", nil
	}
	if strings.HasPrefix(from, "/") {
		return "", "", &usageError{why: fmt.Sprintf("cp: %q is an address, not a reference", arg), hint: "leave out " + ref + "://"}
	}
	from, err = inside(from)
	return ref, from, err
}

func (a *app) cp(ctx context.Context, archive *client.Archive, from, dest string, force bool) error {
	fi, err := archive.WithContext(ctx).Stat(from)
	if err != nil {
		return err
	}
	source := fi.Sys().(*client.Entry)
	if dest == "-" {
		if source.Directory {
			return &usageError{why: "cp: a folder can't go to stdout", hint: "name a file, or a folder to copy to"}
		}
		return a.cat(ctx, archive, from, 0, -1)
	}
	base, jobs, err := plan(ctx, archive, source, dest)
	if err != nil {
		return err
	}
	root, err := openDest(base, source.Directory || endsInSlash(dest))
	if err != nil {
		return err
	}
	defer root.Close()

	x := extractor{archive: archive, root: root, force: force, meter: a.meter("copying")}
	failed, ended := x.run(ctx, jobs)
	x.meter.stop()
	if len(jobs) == 1 && len(failed) == 1 && a.format != formatJSON { // one line says it all
		return fmt.Errorf("%s: %w", quoted(failed[0].path), failed[0].err)
	}
	out := copied{
		Reference: archive.Reference, Files: x.files, Size: x.bytes, Destination: dest, Failed: make([]copyFailure, 0, len(failed)),
	}
	for _, f := range failed {
		d := describe(f.err)
		out.Failed = append(out.Failed, copyFailure{Path: f.path, failure: d})
		if a.format != formatJSON {
			a.note("%s: %s", quoted(f.path), strings.TrimPrefix(d.line(), f.path+": "))
		}
	}
	if err := a.print(out, func(w io.Writer) { fmt.Fprintln(w, out) }); err != nil {
		return err
	}
	switch {
	case ended != nil:
		return ended
	case len(failed) > 0:
		return &partialError{failed: len(failed), total: len(jobs), first: failed[0].err}
	}
	return nil
}

// plan says which folder all goes below, and which files go where.
func plan(ctx context.Context, archive *client.Archive, source *client.Entry, dest string) (string, []job, error) {
	if !source.Directory {
		name := path.Base(source.Path)
		if fi, err := os.Stat(dest); endsInSlash(dest) || err == nil && fi.IsDir() {
			return dest, []job{{source, name}}, nil
		}
		return filepath.Dir(dest), []job{{source, filepath.ToSlash(filepath.Base(dest))}}, nil
	}
	var jobs []job
	for e, err := range archive.List(ctx, source.Path, true) {
		if err != nil {
			return "", nil, err
		}
		if e.Directory {
			continue
		}
		to := e.Path
		if source.Path != "." {
			var below bool
			if to, below = strings.CutPrefix(e.Path, source.Path+"/"); !below {
				return "", nil, fmt.Errorf("the daemon listed %q as below %q", e.Path, source.Path)
			}
		}
		jobs = append(jobs, job{e, to})
	}
	return dest, jobs, nil
}

func endsInSlash(dest string) bool { return dest != "" && os.IsPathSeparator(dest[len(dest)-1]) }

// openDest opens the folder that nothing is written outside of, making it when create is set.
func openDest(dir string, create bool) (*os.Root, error) {
	if create {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, destError(dir, err)
		}
	}
	root, err := os.OpenRoot(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("there is no folder %s to copy to; make it first", dir)
	case err != nil:
		return nil, destError(dir, err)
	}
	return root, nil
}

// copied is what a cp did.
type copied struct {
	Reference   string        `json:"reference"`
	Destination string        `json:"destination"`
	Files       int64         `json:"files"`
	Size        int64         `json:"size"`
	Failed      []copyFailure `json:"failed"`
}

type copyFailure struct {
	Path string `json:"path"`
	failure
}

func (c copied) String() string { return count(c.Files, "file") + ", " + human(c.Size) }

// partialError says that some of many failed. Each was reported when it did; first decides the exit code.
type partialError struct {
	failed, total int
	first         error
}

func (e *partialError) Error() string {
	return fmt.Sprintf("%d of %s could not be copied", e.failed, count(int64(e.total), "file"))
}

func (e *partialError) Unwrap() error { return e.first }
