package client

import (
	"context"
	"io"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// Progress is how far a Prefetch has come. Bytes are uncompressed.
type Progress struct {
	FilesDone, FilesTotal int64
	BytesDone, BytesTotal int64
	FilesUnkept           int64 // read, but larger than the cache could keep
}

// Prefetch brings the files that a pattern of path.Match matches, or one of whose parent folders it matches, into the
// cache; all files where there are no patterns. It calls progress, which may be nil, as the work goes on, and returns
// the last state, which on success is that all is done.
func (c *Client) Prefetch(
	ctx context.Context, ref string, patterns []string, progress func(Progress), opts ...ReadOption,
) (Resolution, Progress, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		res  Resolution
		last Progress
	)
	stream, err := c.api.Prefetch(ctx, &blobdv1.PrefetchRequest{
		Reference: ref, Patterns: patterns, Options: readOptions(opts),
	})
	if err != nil {
		return res, last, err
	}
	for done := false; ; {
		m, err := stream.Recv()
		switch {
		case err == io.EOF && done:
			return res, last, nil
		case err == io.EOF:
			return res, last, badAnswer("prefetch of %s: the daemon stopped before it was done", ref)
		case err != nil:
			return res, last, err
		}
		if m.GetResolution() != nil {
			res = resolution(m.GetResolution())
		}
		last = Progress{
			FilesDone: m.GetFilesDone(), FilesTotal: m.GetFilesTotal(),
			BytesDone: m.GetBytesDone(), BytesTotal: m.GetBytesTotal(), FilesUnkept: m.GetFilesUnkept(),
		}
		done = m.GetDone()
		if progress != nil {
			progress(last)
		}
	}
}
