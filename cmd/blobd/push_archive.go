package main

import (
	"context"

	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
)

// peerIndex is the largest index that meigma/blob v1.1.2 reads.
const peerIndex = 8 << 20

func (a *app) pushArchive(ctx context.Context, c *publish.Client, dir string, ref oci.Reference, o publish.ArchiveOptions) (*pushReport, error) {
	p, done, err := c.PushArchive(ctx, dir, ref, o)
	if err != nil {
		return nil, err
	}
	report := newPushReport(ref, done)
	report.Files, report.Size = int(p.Files), p.Size
	if p.Skipped != (publish.Skipped{}) {
		report.Skipped = &p.Skipped
		a.note("left out: %s", p.Skipped)
	}
	if p.Index.Size > peerIndex {
		a.note("the index of %s takes %s: blobd reads it, meigma/blob v1.1.2 reads none above %s",
			count(p.Files, "file"), human(p.Index.Size), human(peerIndex))
	}
	return report, nil
}
