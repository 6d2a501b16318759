package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

func newExportCommand(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "export --spin-cache DIR REF",
		Short: "Put a Spin application into Spin's cache",
		Long: `Export puts a Spin application into a folder that is laid out as Spin's own cache, so that a ` + "`spin up`" + ` of the same
reference finds every component and every asset there. Spin may run meanwhile: a file appears whole and checked, what is
there and right is left alone, what is there and wrong is replaced.

What a reference means to Spin stands in a folder for its tag. A reference by digest alone has none: then components and
assets are put there, and no more.

` + spinCacheHint(),
		Example: `  blobd export --spin-cache ~/.cache/spin registry.example/team/app:v1`,
		Args:    takes(1, 1), ValidArgsFunction: a.completeRef,
	}
	cmd.Flags().StringVar(&dir, "spin-cache", "", "the `folder` of Spin's cache, which holds \"registry\"; made where it does not exist")
	if err := cmd.MarkFlagDirname("spin-cache"); err != nil {
		panic(err) // there is no such flag
	}
	flags := addReadFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if dir == "" {
			return &usageError{why: "export: no folder is named", hint: "name Spin's cache with --spin-cache DIR. " + spinCacheHint()}
		}
		c, archive, err := a.open(cmd.Context(), args[0], flags)
		if err != nil {
			return err
		}
		defer c.Close()
		a.noteStale(archive.Resolution)
		return a.exportSpin(cmd.Context(), c, archive, args[0], dir)
	}
	return cmd
}

// spinCacheHint says where Spin has its cache for this user.
func spinCacheHint() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "Without --cache-dir, Spin has none for this user"
	}
	return "Without --cache-dir, Spin's own is " + filepath.Join(dir, "spin")
}

// exported is what an export did.
type exported struct {
	Reference string `json:"reference"`
	SpinCache string `json:"spin_cache"`
	Manifest  string `json:"manifest,omitempty"` // the folder of the tag; none for a reference by digest
	Written   int64  `json:"written"`            // files
	Kept      int64  `json:"kept"`               // files that were there and right
	Size      int64  `json:"size"`               // bytes written
}

func (e exported) String() string {
	return fmt.Sprintf("%s written, %s; %d were there", count(e.Written, "file"), human(e.Size), e.Kept)
}

func (a *app) exportSpin(ctx context.Context, c *client.Client, archive *client.Archive, ref, dir string) error {
	app, err := readSpinApp(ctx, c, archive, ref)
	if err != nil {
		return err
	}
	defer ahead(ctx, c, archive, ".")()
	cache := spinCache{dir: dir, meter: a.meter("exporting")}
	folder, err := cache.put(ctx, archive, app)
	cache.meter.stop()
	if err != nil {
		return err
	}
	out := exported{
		Reference: archive.Reference, SpinCache: dir, Manifest: folder, Written: cache.written, Kept: cache.kept, Size: cache.bytes,
	}
	if folder == "" {
		a.note("%s names no tag, so that Spin knows no name for it; components and assets are there", ref)
	}
	return a.print(out, func(w io.Writer) { fmt.Fprintln(w, out) })
}
