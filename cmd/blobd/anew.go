package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/blobd/blobd/client"
)

// anew fetches files and folders of a --no-cache archive, and returns the archive to read them from: what came is fresh for
// the rest of the command. Read one by one with NoCache, each file would fetch the blocks that it shares with others again.
func (a *app) anew(
	ctx context.Context, c *client.Client, archive *client.Archive, paths []string, flags *readFlags,
) (*client.Archive, error) {
	_, err := a.prefetch(ctx, c, archive.Reference, exactly(paths...), []client.ReadOption{client.NoCache()})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return archive, nil // for the read of that path to meet, which says it better
	case err != nil:
		return nil, err
	}
	return flags.fetched(ctx, c, archive)
}

// anewBelow is anew for what is below from. Of a single file it makes nothing: that is read with NoCache itself.
func (a *app) anewBelow(
	ctx context.Context, c *client.Client, archive *client.Archive, from string, flags *readFlags,
) (*client.Archive, error) {
	fetched, err := flags.fetched(ctx, c, archive)
	if err != nil {
		return nil, err
	}
	fi, err := fetched.WithContext(ctx).Stat(from)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return archive, nil
	}
	return a.anew(ctx, c, archive, []string{from}, flags)
}

// fetched is the archive read from the cache.
func (r *readFlags) fetched(ctx context.Context, c *client.Client, archive *client.Archive) (*client.Archive, error) {
	cached := readFlags{requireVerified: r.requireVerified}
	return c.Pull(ctx, archive.Reference, cached.options()...)
}

// exactly is the patterns that match these paths and what is below them; none, which stands for all, where one is the root.
func exactly(paths ...string) []string {
	literally := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
	patterns := make([]string, 0, len(paths))
	for _, p := range paths {
		if p == "." {
			return nil
		}
		patterns = append(patterns, literally.Replace(p))
	}
	return patterns
}
