package client

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// ReadOption says how fresh and how sure an answer must be.
type ReadOption func(*blobdv1.ReadOptions)

// NoCache has everything fetched anew, and stored for the callers that follow: the tag, the manifest and the index by
// Pull, the bytes by each read of the Archive.
func NoCache() ReadOption {
	return func(o *blobdv1.ReadOptions) { o.NoCache = true }
}

// MaxAge is the oldest a tag's last check may be; 0 asks the registry now. Without it the daemon's TTL counts.
func MaxAge(age time.Duration) ReadOption {
	return func(o *blobdv1.ReadOptions) { o.MaxAge = durationpb.New(age) }
}

// RequireFresh refuses a stale tag while the registry can't be had.
func RequireFresh() ReadOption {
	return func(o *blobdv1.ReadOptions) { o.RequireFresh = true }
}

// RequireVerified has a file's digest checked before its first byte arrives, for parts of files too.
func RequireVerified() ReadOption {
	return func(o *blobdv1.ReadOptions) { o.RequireVerified = true }
}

func readOptions(opts []ReadOption) *blobdv1.ReadOptions {
	o := new(blobdv1.ReadOptions)
	for _, set := range opts {
		set(o)
	}
	return o
}
