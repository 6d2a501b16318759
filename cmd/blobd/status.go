package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/monitor"
)

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon and its caches are",
		Long: `Status shows how the daemon is: what is wrong now, how full each cache is and how many looks into it were hits (since
the start, and in the last five minutes), how registries are, what is being fetched, recent errors, and the artifacts last
used. With -o json there is more: the last hour minute by minute, and the configuration in force, secrets left out.

` + "`blobd top`" + ` shows the same live, ` + "`blobd events -f`" + ` what happens.`,
		Example: `  blobd status
  blobd status -o json | jq -r .config
  blobd status -o json | jq '.caches[] | {name, hit_ratio, recent_hit_ratio}'`,
		Args: takes(0, 0),
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, _ []string) error {
			r, err := admin.Status(ctx, &blobdv1.StatusRequest{ListArtifacts: true})
			if err != nil {
				return err
			}
			return a.print(describeStatus(r), func(w io.Writer) { statusText(w, r) })
		}),
	}
}

const (
	// statusWidth is how long a line of status is at most, but for what a person may want to copy.
	statusWidth = 80
	// statusRows is how many flights, errors and artifacts status shows: what is left is in -o json and top.
	statusRows = 10
)

// statusText writes the daemon's state for people.
func statusText(w io.Writer, r *blobdv1.StatusResponse) {
	s := snapshotOf(r)
	scan := ""
	if s.Scanning {
		scan = "the folders are still being counted"
	}
	fields(w,
		field{"version", s.Version},
		field{"pid", fmt.Sprint(s.PID)},
		field{"up", short(max(s.At.Sub(s.Started), 0))},
		field{"socket", s.Socket},
		field{"folder", s.CacheDir},
		field{"used", fmt.Sprintf("%s of %s", human(s.Bytes), human(s.Limit))},
		field{"disk", fmt.Sprintf("%s free, %s of it to be kept so", human(s.DiskFree), human(s.MinFree))},
		field{"scanning", scan},
		field{"served", servedLine(s)},
		field{"fetched", human(s.Upstream) + " from registries"},
		field{"fetching", count(r.GetFlights(), "flight")},
	)
	for _, p := range s.Problems {
		fmt.Fprintf(w, "problem: %s\n", oneLine(p))
	}
	section := func(lines []string, more int) {
		fmt.Fprintln(w)
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
		if more > 0 {
			fmt.Fprintf(w, "… and %d more\n", more)
		}
	}
	section(cacheTable(s, statusWidth, 0), 0)
	if len(s.Registries) > 0 {
		section(registryTable(s, statusWidth), 0)
	}
	if n := len(s.Flights); n > 0 {
		s.Flights = s.Flights[:min(n, statusRows)]
		section(flightTable(s, statusWidth), int(r.GetFlights())-len(s.Flights))
	}
	if n := len(s.Errors); n > 0 {
		section(errorLines(s.Errors[:min(n, statusRows)], s.At), n-statusRows)
	}
	if n := len(s.Artifacts); n > 0 {
		shown := s.Artifacts[:min(n, statusRows)]
		section(artifactTable(s, shown, statusWidth), n+s.More-len(shown))
	}
}

// errorLines tell of errors, each in full.
func errorLines(errors []monitor.Event, now time.Time) []string {
	lines := []string{"ERRORS LATELY"}
	for _, e := range errors {
		lines = append(lines, wrap(fmt.Sprintf("%s ago, %s: %s", ago(now, e.At), errorWord(e.Kind), eventWhat(e)), statusWidth, "  ")...)
	}
	return lines
}

// errorWord says what sort of error an event is.
func errorWord(k monitor.Kind) string { return strings.ReplaceAll(string(k), "_", " ") }
