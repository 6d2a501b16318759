package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/monitor"
)

const (
	// backlogShown is how many recent events are shown where nobody says how many: a screen or two.
	backlogShown = 50
	// backlogMost asks for all that a daemon has.
	backlogMost = 1 << 30
	// reconnectEvery is how often a follower looks whether the daemon is back: a restart takes a fraction of a second.
	reconnectEvery = 500 * time.Millisecond
)

func newEventsCommand(a *app) *cobra.Command {
	w := watcher{app: a, backlog: backlogShown}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened lately, or follow what happens",
		Long: `Events shows recent events, a line each: pulls, evictions, corruptions, failures of registries and of calls, a disk that
refuses writes. With -f it goes on with what happens, past restarts of the daemon too, until it is interrupted. What is alike
within a second comes as one line with a count. With -o json each event is an object on a line of its own.`,
		Example: `  blobd events
  blobd events -f --kind upstream_failure,corruption
  blobd events -f -o json | jq -r 'select(.kind == "eviction") | .bytes'`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return w.run(cmd.Context()) },
	}
	cmd.Flags().BoolVarP(&w.follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().IntVarP(&w.backlog, "lines", "n", w.backlog, "how many recent events to begin with")
	cmd.Flags().StringSliceVar(&w.kinds, "kind", nil, "only these: "+strings.Join(kindNames(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("kind", completeKinds) // it fails for flags that there are not
	return cmd
}

func kindNames() []string {
	var names []string
	for _, k := range monitor.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// completeKinds completes the last of a list of kinds.
func completeKinds(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	var out []cobra.Completion
	for _, name := range kindNames() {
		if !slices.Contains(strings.Split(before, ","), name) {
			out = append(out, before+name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// watcher prints events, past restarts of the daemon.
type watcher struct {
	app     *app
	follow  bool
	backlog int
	kinds   []string

	last time.Time // of the last event that was printed, or when the first daemon was there
	gone bool      // it was said that the daemon is
}

func (w *watcher) run(ctx context.Context) error {
	if w.backlog < 0 {
		return &usageError{why: fmt.Sprintf("events: --lines %d is negative", w.backlog), hint: "see `blobd events --help`"}
	}
	c, err := w.app.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		err := w.watch(ctx, c.Admin())
		switch {
		case w.follow && ctx.Err() != nil:
			return nil // it was asked to end
		case err == nil || !w.follow || !w.mayReturn(err):
			return err
		case !w.gone:
			w.gone = true
			w.app.note("the daemon has gone (%s); waiting for it", describe(err).Message)
		}
		wait := time.NewTimer(reconnectEvery)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
	}
}

// mayReturn reports whether a daemon that was there may be back before long. One that never was is not waited for.
func (w *watcher) mayReturn(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && !w.last.IsZero() && (e.Code == codes.Unavailable || e.Code == codes.Aborted)
}

// watch prints events until the stream ends.
func (w *watcher) watch(ctx context.Context, admin blobdv1.AdminServiceClient) error {
	request := &blobdv1.WatchEventsRequest{Kinds: w.kinds, Backlog: int32(min(w.backlog, backlogMost)), Follow: w.follow}
	if !w.last.IsZero() { // what happened meanwhile
		request.Since, request.Backlog = timestamppb.New(w.last), backlogMost
	}
	stream, err := admin.WatchEvents(ctx, request)
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if w.gone {
			w.gone = false
			w.app.note("the daemon is back")
		}
		if err := w.show(eventsOf(m.GetEvents())); err != nil {
			return err
		}
	}
}

func (w *watcher) show(events []monitor.Event) error {
	if w.last.IsZero() && len(events) == 0 {
		w.last = time.Now()
	}
	for _, e := range events {
		w.last = e.At
		err := w.app.print(describeEvent(e), func(out io.Writer) {
			fmt.Fprintln(out, eventLine(e, e.At.Local().Format("2006-01-02 15:04:05")))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
