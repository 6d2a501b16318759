package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
)

func pushFiles(ctx context.Context, c *publish.Client, args []string, ref oci.Reference, o publish.FilesOptions) (*pushReport, error) {
	files := make([]publish.File, len(args))
	for i, arg := range args {
		files[i] = parseFile(arg)
	}
	artifact, err := publish.FilesArtifact(ctx, files, o)
	if err != nil {
		return nil, err
	}
	done, err := c.Upload(ctx, ref, artifact, o.UploadOptions)
	if err != nil {
		return nil, err
	}
	report := newPushReport(ref, done)
	report.Files = len(files)
	for _, b := range artifact.Blobs[1:] { // the config comes first
		report.Size += b.Size
	}
	return report, nil
}

// parseFile reads FILE or FILE:TYPE. A media type has a slash, and a file that exists is one, whatever its name holds.
func parseFile(arg string) publish.File {
	f := publish.File{Path: arg}
	if at := strings.LastIndexByte(arg, ':'); at > 0 && strings.Contains(arg[at:], "/") {
		if _, err := os.Lstat(arg); err != nil {
			f.Path, f.MediaType = arg[:at], arg[at+1:]
		}
	}
	f.Title = filepath.ToSlash(filepath.Clean(f.Path))
	return f
}
