package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newCacheVerifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read everything that is cached, and drop what is not as it should be",
		Long: `Verify reads everything that is cached and drops what is not as it should be: it is fetched again when it is read next.
Each such entry is printed, and the exit code is 5 when there was one.`,
		Example: `  blobd cache verify`,
		Args:    takes(0, 0),
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, _ []string) error {
			out, err := a.verify(ctx, admin)
			if err != nil {
				return err
			}
			if err := a.print(out, out.text); err != nil {
				return err
			}
			if n := len(out.Corruptions); n > 0 {
				return &corruptError{n}
			}
			return nil
		}),
	}
}

func (a *app) verify(ctx context.Context, admin blobdv1.AdminServiceClient) (verified, error) {
	out := verified{Corruptions: []corruption{}}
	stream, err := admin.Verify(ctx, &blobdv1.VerifyRequest{})
	if err != nil {
		return out, err
	}
	m := a.meter("verifying")
	defer m.stop()
	for done := false; ; {
		r, err := stream.Recv()
		switch {
		case err == io.EOF && done:
			return out, nil
		case err == io.EOF:
			return out, fmt.Errorf("the daemon stopped before all was verified")
		case err != nil:
			return out, err
		}
		out.Entries, out.Bytes, done = r.GetEntriesDone(), r.GetBytesDone(), r.GetDone()
		m.set(out.Bytes, -1)
		for _, c := range r.GetCorruptions() {
			out.Corruptions = append(out.Corruptions, corruption{Cache: c.GetCache(), Key: c.GetKey(), Why: c.GetWhy()})
		}
	}
}

// verified is what a verify saw.
type verified struct {
	Entries     int64        `json:"entries"`
	Bytes       int64        `json:"bytes"`
	Corruptions []corruption `json:"corruptions"`
}

type corruption struct {
	Cache string `json:"cache"`
	Key   string `json:"key"`
	Why   string `json:"why"`
}

func (v verified) text(w io.Writer) {
	for _, c := range v.Corruptions {
		fmt.Fprintf(w, "dropped %s %s: %s\n", c.Cache, c.Key, oneLine(c.Why))
	}
	fmt.Fprintf(w, "verified %s, %s\n", count(v.Entries, "entry"), human(v.Bytes))
}

// corruptError says that entries were bad, and are gone.
type corruptError struct{ entries int }

func (e *corruptError) Error() string {
	return fmt.Sprintf("cache verify: %s bad on disk, dropped; fetched again when read", count(int64(e.entries), "entry"))
}
