package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon and its caches are",
		Long: `Status shows how the daemon and its caches are, and what is wrong now. With -o json the configuration in force is
there too, secrets left out.`,
		Example: `  blobd status
  blobd status -o json | jq -r .config`,
		Args: takes(0, 0),
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, _ []string) error {
			r, err := admin.Status(ctx, &blobdv1.StatusRequest{})
			if err != nil {
				return err
			}
			out := describeStatus(r)
			return a.print(out, out.text)
		}),
	}
}

// jsonStatus is the daemon's state for programs.
type jsonStatus struct {
	Version  string   `json:"version"`
	PID      int64    `json:"pid"`
	Started  string   `json:"started"` // RFC 3339
	Socket   string   `json:"socket"`
	Flights  int64    `json:"flights"`
	Problems []string `json:"problems"`
	jsonCaches
	Config string `json:"config"`

	up time.Duration
}

func describeStatus(r *blobdv1.StatusResponse) jsonStatus {
	started := r.GetStarted().AsTime()
	return jsonStatus{
		Version: r.GetVersion(), PID: r.GetPid(), Started: started.Format(time.RFC3339), Socket: r.GetSocket(),
		Flights: r.GetFlights(), Problems: append([]string{}, r.GetProblems()...), jsonCaches: describeCaches(r),
		Config: r.GetConfig(), up: max(time.Since(started), 0),
	}
}

func (j jsonStatus) text(w io.Writer) {
	fields(w,
		field{"version", j.Version},
		field{"pid", fmt.Sprint(j.PID)},
		field{"up", short(j.up)},
		field{"socket", j.Socket},
		field{"fetching", count(j.Flights, "flight")},
	)
	for _, p := range j.Problems {
		fmt.Fprintf(w, "problem: %s\n", oneLine(p))
	}
	fmt.Fprintln(w)
	j.jsonCaches.text(w)
}
