package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/pullthrough"
)

// eventsAtOnce is how many events one message carries: at a kilobyte each far under the 4 MiB that clients accept by
// default.
const eventsAtOnce = 200

// Monitor is told what this server sees, and asked what there is to see of the daemon.
type Monitor interface {
	Brief() monitor.Snapshot
	Snapshot(ctx context.Context) monitor.Snapshot
	Subscribe(backlog int, after time.Time, kinds ...monitor.Kind) *monitor.Subscription
	Pulled(reference, source string)
	CallFailed(reason, text string)
}

// WatchEvents implements AdminService.
func (s *adminService) WatchEvents(
	req *blobdv1.WatchEventsRequest, stream grpc.ServerStreamingServer[blobdv1.WatchEventsResponse],
) error {
	if s.monitor == nil {
		return status.Error(codes.Unimplemented, "nothing is watched here")
	}
	kinds, err := kindsOf(req.Kinds)
	if err != nil {
		return err
	}
	if req.Backlog < 0 {
		return fault.New(fault.InvalidArgument, "backlog is negative: %d", req.Backlog)
	}
	sub := s.monitor.Subscribe(int(req.Backlog), timeOf(req.Since), kinds...)
	defer sub.Close()
	send := func() error {
		for events := sub.Take(eventsAtOnce); len(events) > 0; events = sub.Take(eventsAtOnce) {
			if err := stream.Send(eventsTo(events)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := stream.Send(eventsTo(sub.Take(eventsAtOnce))); err != nil {
		return err
	}
	for err = send(); err == nil && req.Follow; err = send() {
		select {
		case <-sub.More():
		case <-s.closing:
			return fault.New(fault.ShuttingDown, "the daemon is shutting down").Try("watch again once it is back")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
	return err
}

// kindsOf reads the names of kinds.
func kindsOf(names []string) ([]monitor.Kind, error) {
	known := monitor.Kinds()
	kinds := make([]monitor.Kind, len(names))
	for i, name := range names {
		if kinds[i] = monitor.Kind(name); !slices.Contains(known, kinds[i]) {
			all := make([]string, len(known))
			for i, k := range known {
				all[i] = string(k)
			}
			return nil, fault.New(fault.InvalidArgument, "there is no kind of event called %.64q", name).
				Try("the kinds are %s", strings.Join(all, ", "))
		}
	}
	return kinds, nil
}

// pulled tells the monitor of an artifact that somebody pulled.
func pulled(m Monitor, r pullthrough.Resolution, asked string) {
	if m != nil {
		m.Pulled(referenceOf(r, asked), sourceOf(r))
	}
}

// referenceOf names what was pulled: as it was asked for, and with its digest.
func referenceOf(r pullthrough.Resolution, asked string) string {
	if strings.Contains(asked, "@") {
		return asked
	}
	return asked + "@" + r.Digest.String()
}

// sourceOf is where an answer came from, in one word.
func sourceOf(r pullthrough.Resolution) string {
	source := "memory"
	for _, step := range r.Steps {
		switch {
		case step.Step == "ref" && step.Source == "upstream":
			source = "checked"
		case step.Step == "ref" && r.Stale:
			source = "stale"
		case step.Step == "ref":
		case step.Source == "upstream":
			return step.Source
		case source == "memory" && step.Source != "memory":
			source = "cache"
		}
	}
	return source
}

// fetched reports whether something of the artifact itself came from upstream.
func fetched(r pullthrough.Resolution) bool { return sourceOf(r) == "upstream" }

// failed tells the monitor of a call that ended in a status which is this daemon's fault. What callers get wrong is not,
// nor what registries do, which is told by those who ask them.
func failed(m Monitor, err error) {
	if m == nil || err == nil {
		return
	}
	st := status.Convert(err)
	reason := reasonIn(st)
	switch st.Code() {
	case codes.Internal, codes.Unknown:
	case codes.ResourceExhausted:
		if reason != string(fault.LocalOverload) {
			return
		}
	default:
		return
	}
	m.CallFailed(reason, st.Message())
}
