package main

import (
	"context"

	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
	"github.com/blobd/blobd/publish/spinpush"
)

func pushSpin(ctx context.Context, c *publish.Client, manifest string, ref oci.Reference, o publish.UploadOptions, spin spinpush.Options) (*pushReport, error) {
	app, err := spinpush.Pack(ctx, manifest, spin)
	if err != nil {
		return nil, err
	}
	defer app.Close()
	done, err := c.Upload(ctx, ref, app.Artifact(), o)
	if err != nil {
		return nil, err
	}
	report := newPushReport(ref, done)
	report.Files, report.Size = app.Components+app.Files, app.Size
	return report, nil
}
