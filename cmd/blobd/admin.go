package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// admin is the RunE of a command of the admin service.
func (a *app) admin(
	run func(ctx context.Context, admin blobdv1.AdminServiceClient, args []string) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close()
		return run(cmd.Context(), c.Admin(), args)
	}
}

// freed is what was freed, and what could not be and why.
type freed struct {
	Digest  string `json:"digest,omitempty"`
	DryRun  bool   `json:"dry_run,omitempty"`
	Entries int64  `json:"freed_entries"`
	Bytes   int64  `json:"freed_bytes"`
	Kept    []kept `json:"kept"`
	Left    *int64 `json:"bytes,omitempty"`
}

type kept struct {
	Reason  string `json:"reason"`
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

func keptOf(list []*blobdv1.Kept) []kept {
	out := make([]kept, 0, len(list))
	for _, k := range list {
		out = append(out, kept{Reason: k.GetReason(), Entries: k.GetEntries(), Bytes: k.GetBytes()})
	}
	return out
}

func (f freed) text(w io.Writer) {
	verb := "freed"
	if f.DryRun {
		verb = "would free"
	}
	if f.Digest != "" {
		fmt.Fprintf(w, "removed %s\n", f.Digest)
	}
	fmt.Fprintf(w, "%s %s, %s\n", verb, count(f.Entries, "entry"), human(f.Bytes))
	for _, k := range f.Kept {
		fmt.Fprintf(w, "kept %s, %s: %s\n", count(k.Entries, "entry"), human(k.Bytes), keptWhy(k.Reason))
	}
	if f.Left != nil {
		fmt.Fprintf(w, "left %s\n", human(*f.Left))
	}
}

// keptWhy explains a reason, and what to do about it.
func keptWhy(reason string) string {
	switch reason {
	case "pinned":
		return "pinned (end a pin with `blobd unpin`)"
	case "in use":
		return "in use by readers now"
	case "error":
		return "the disk refused (see the daemon's log)"
	}
	return reason
}
