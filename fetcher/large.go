package fetcher

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/blobd/blobd/internal/fault"
)

const (
	// smallManifest is what is read without asking whether there is room: real ones are smaller.
	smallManifest = 32 << 10
	// largeManifests is what larger ones may have together: one of the largest. What is made of a hostile one takes ten
	// times as much again.
	largeManifests = 4 << 20
	// largePatience is how long one waits for others to be done with.
	largePatience = 10 * time.Second
)

// largeRoom bounds the memory of large manifests. Its share stands until the caller's context ends, since what is made of
// a manifest takes more than the manifest.
type largeRoom struct{ bytes *semaphore.Weighted }

func newLargeRoom() largeRoom { return largeRoom{semaphore.NewWeighted(largeManifests)} }

// read reads body, of announced bytes (-1: not known), as far as limit and one byte more. release, where it is not nil,
// gives back what it took; after an error nothing is left to give back.
func (l largeRoom) read(ctx context.Context, body io.Reader, announced, limit int64) (raw []byte, release func(), err error) {
	raw, err = io.ReadAll(io.LimitReader(body, smallManifest))
	if err != nil || int64(len(raw)) < smallManifest {
		return raw, nil, err
	}
	most := limit + 1
	if announced >= 0 {
		most = min(most, announced)
	}
	share := min(most, largeManifests)
	wait, cancel := context.WithTimeoutCause(ctx, largePatience,
		fault.New(fault.LocalOverload, "the memory that blobd has for large manifests is in use").Try("try again later"))
	defer cancel()
	if err := l.bytes.Acquire(wait, share); err != nil {
		return nil, nil, context.Cause(wait)
	}
	release = func() { l.bytes.Release(share) }
	all := bytes.NewBuffer(make([]byte, 0, max(most, smallManifest)+bytes.MinRead))
	all.Write(raw)
	if _, err := all.ReadFrom(io.LimitReader(body, most-int64(len(raw)))); err != nil {
		release()
		return nil, nil, err
	}
	return bytes.Clone(all.Bytes()), release, nil // not where room for more was made than came
}

// errUnread says that nobody wants the manifest that came.
var errUnread = errors.New("not wanted")

// handOver leaves the manifest to the caller until ctx ends, or, where err says that it gets none, to nobody.
func (c *call) handOver(ctx context.Context, err error) {
	switch {
	case c.letGo == nil:
	case err != nil:
		c.letGo()
	default:
		context.AfterFunc(ctx, c.letGo)
	}
}
