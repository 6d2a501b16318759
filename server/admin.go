package server

import (
	"context"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

const (
	// artifactsAtOnce is how many artifacts one message lists: at some 300 bytes each far under the 4 MiB that clients
	// accept by default, even with hundreds of tags on one.
	artifactsAtOnce = 200
	// corruptionsAtOnce does the same for what Verify found.
	corruptionsAtOnce = 1000
)

// Daemon is what Status tells of the process, which the domain does not know.
type Daemon struct {
	Version  string
	Started  time.Time
	Socket   string
	CacheDir string
	Config   func() string // the configuration in force, without secrets, as YAML; nil tells none
}

// adminService is AdminService: proto to domain and back. Who may call it is decided before.
type adminService struct {
	blobdv1.UnimplementedAdminServiceServer
	domain  Admin
	logins  Logins  // may be nil
	monitor Monitor // may be nil
	daemon  Daemon
	closing <-chan struct{} // closed when the server is to be shut down
}

// Status implements AdminService.
func (s *adminService) Status(ctx context.Context, req *blobdv1.StatusRequest) (*blobdv1.StatusResponse, error) {
	st := s.domain.Status()
	out := &blobdv1.StatusResponse{
		Version:   s.daemon.Version,
		Started:   timestamppb.New(s.daemon.Started),
		Pid:       int64(os.Getpid()),
		Socket:    s.daemon.Socket,
		CacheDir:  s.daemon.CacheDir,
		Bytes:     st.Bytes,
		Limit:     st.Limit,
		DiskFree:  st.DiskFree,
		MinFree:   st.MinFree,
		Artifacts: st.Artifacts,
		Flights:   st.Flights,
		Scanning:  st.Scanning,
		Problems:  st.Problems,
	}
	for _, c := range st.Caches {
		out.Caches = append(out.Caches, &blobdv1.CacheStatus{
			Name: c.Name, Path: c.Path, Enabled: c.Enabled,
			Bytes: c.Bytes, Limit: c.Limit, Entries: c.Entries,
			PinnedBytes: c.PinnedBytes, LeasedBytes: c.LeasedBytes,
		})
	}
	if s.daemon.Config != nil {
		out.Config = s.daemon.Config()
	}
	switch {
	case s.monitor == nil:
	case req.ListArtifacts:
		addSnapshot(out, s.monitor.Snapshot(ctx))
	default:
		addSnapshot(out, s.monitor.Brief())
	}
	return out, nil
}

// ListArtifacts implements AdminService.
func (s *adminService) ListArtifacts(
	_ *blobdv1.ListArtifactsRequest, stream grpc.ServerStreamingServer[blobdv1.ListArtifactsResponse],
) error {
	for some := range slices.Chunk(s.domain.Artifacts(stream.Context()), artifactsAtOnce) {
		msg := new(blobdv1.ListArtifactsResponse)
		for _, a := range some {
			msg.Artifacts = append(msg.Artifacts, artifactTo(a))
		}
		if err := stream.Send(msg); err != nil {
			return err
		}
	}
	return stream.Context().Err()
}

func artifactTo(a pullthrough.ArtifactInfo) *blobdv1.Artifact {
	return &blobdv1.Artifact{
		Registry: a.Registry, Repository: a.Repository, Digest: a.Digest.String(), Tags: a.Tags,
		ArtifactType: a.ArtifactType, Files: a.Files, Size: a.Size, Cached: a.Cached, Pinned: a.Pinned,
		LastUsed: timestamppb.New(a.LastUsed),
	}
}

// Prune implements AdminService.
func (s *adminService) Prune(ctx context.Context, req *blobdv1.PruneRequest) (*blobdv1.PruneResponse, error) {
	if req.Target < 0 {
		return nil, fault.New(fault.InvalidArgument, "target is negative: %d", req.Target)
	}
	unused, err := durationOf("unused_for", req.UnusedFor)
	if err != nil {
		return nil, err
	}
	r, err := s.domain.Prune(ctx, pullthrough.PruneOptions{Target: req.Target, UnusedFor: unused, DryRun: req.DryRun})
	if err != nil {
		return nil, err
	}
	return &blobdv1.PruneResponse{
		FreedEntries: r.FreedEntries, FreedBytes: r.FreedBytes, Kept: keptTo(r), Bytes: r.Bytes,
	}, nil
}

// Remove implements AdminService.
func (s *adminService) Remove(ctx context.Context, req *blobdv1.RemoveRequest) (*blobdv1.RemoveResponse, error) {
	d, r, err := s.domain.Remove(ctx, req.Reference)
	if err != nil {
		return nil, err
	}
	return &blobdv1.RemoveResponse{
		Digest: d.String(), FreedEntries: r.FreedEntries, FreedBytes: r.FreedBytes, Kept: keptTo(r),
	}, nil
}

// Clear implements AdminService.
func (s *adminService) Clear(ctx context.Context, req *blobdv1.ClearRequest) (*blobdv1.ClearResponse, error) {
	r, err := s.domain.Clear(ctx, req.Caches)
	if err != nil {
		return nil, err
	}
	return &blobdv1.ClearResponse{FreedEntries: r.FreedEntries, FreedBytes: r.FreedBytes, Kept: keptTo(r)}, nil
}

func keptTo(r pullthrough.Report) []*blobdv1.Kept {
	out := make([]*blobdv1.Kept, len(r.Kept))
	for i, k := range r.Kept {
		out[i] = &blobdv1.Kept{Reason: k.Reason, Entries: k.Entries, Bytes: k.Bytes}
	}
	return out
}

// Verify implements AdminService. What was found is told once each, progress as it was at each message.
func (s *adminService) Verify(
	_ *blobdv1.VerifyRequest, stream grpc.ServerStreamingServer[blobdv1.VerifyResponse],
) error {
	var (
		now   blobdv1.VerifyResponse // progress
		found []*blobdv1.Corruption  // not told yet
	)
	send := func(done bool) error {
		for {
			some := found[:min(len(found), corruptionsAtOnce)]
			found = found[len(some):]
			last := len(found) == 0
			err := stream.Send(&blobdv1.VerifyResponse{
				EntriesDone: now.EntriesDone, EntriesTotal: now.EntriesTotal, BytesDone: now.BytesDone,
				Corruptions: some, Done: done && last,
			})
			if err != nil || last {
				return err
			}
		}
	}
	ticks := &ticker{send: func() error { return send(false) }}
	err := s.domain.Verify(stream.Context(),
		func(done, total, bytes int64) {
			ticks.update(func() { now.EntriesDone, now.EntriesTotal, now.BytesDone = done, total, bytes })
		},
		func(cache, key, why string) {
			ticks.update(func() { found = append(found, &blobdv1.Corruption{Cache: cache, Key: key, Why: why}) })
		})
	if err != nil {
		return err
	}
	return send(true)
}

// Pin implements AdminService.
func (s *adminService) Pin(ctx context.Context, req *blobdv1.PinRequest) (*blobdv1.PinResponse, error) {
	options, err := optionsOf(req.Options)
	if err != nil {
		return nil, err
	}
	r, size, cached, err := s.domain.Pin(ctx, principalOf(ctx).Key(), req.Reference, options)
	if err != nil {
		return nil, err
	}
	pulled(s.monitor, r, req.Reference)
	return &blobdv1.PinResponse{Resolution: resolutionTo(r), Size: size, Cached: cached}, nil
}

// Unpin implements AdminService.
func (s *adminService) Unpin(ctx context.Context, req *blobdv1.UnpinRequest) (*blobdv1.UnpinResponse, error) {
	d, err := s.domain.Unpin(ctx, req.Reference)
	if err != nil {
		return nil, err
	}
	return &blobdv1.UnpinResponse{Digest: d.String()}, nil
}
