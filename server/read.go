package server

import (
	"context"

	"google.golang.org/grpc"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/pullthrough"
)

// readService is BlobdService: proto to domain and back.
type readService struct {
	blobdv1.UnimplementedBlobdServiceServer
	domain  Reader
	chunks  *chunkPool
	monitor Monitor // may be nil
}

// pull is how every call on what is in an archive begins. A caller that names a digest holds the archive already.
func (s *readService) pull(ctx context.Context, ref string, o *blobdv1.ReadOptions) (*pullthrough.Archive, pullthrough.Options, error) {
	options, err := optionsOf(o)
	if err != nil {
		return nil, options, err
	}
	options.Held = true
	a, err := s.domain.Pull(ctx, principalOf(ctx).Key(), ref, options)
	if err == nil && fetched(a.Resolution) {
		pulled(s.monitor, a.Resolution, ref)
	}
	return a, options, err
}

// Pull implements BlobdService.
func (s *readService) Pull(ctx context.Context, req *blobdv1.PullRequest) (*blobdv1.PullResponse, error) {
	options, err := optionsOf(req.Options)
	if err != nil {
		return nil, err
	}
	a, err := s.domain.Pull(ctx, principalOf(ctx).Key(), req.Reference, options)
	if err != nil {
		return nil, err
	}
	pulled(s.monitor, a.Resolution, req.Reference)
	return &blobdv1.PullResponse{
		Resolution: resolutionTo(a.Resolution),
		Files:      int64(a.Tree.Len()),
		Size:       a.Tree.Size(),
		StoredSize: a.StoredSize,
	}, nil
}

// Stat implements BlobdService.
func (s *readService) Stat(ctx context.Context, req *blobdv1.StatRequest) (*blobdv1.StatResponse, error) {
	a, _, err := s.pull(ctx, req.Reference, req.Options)
	if err != nil {
		return nil, err
	}
	node, err := a.Tree.Stat(orRoot(req.Path))
	if err != nil {
		return nil, err
	}
	return &blobdv1.StatResponse{Resolution: resolutionTo(a.Resolution), Entry: nodeTo(node)}, nil
}

// FetchManifest implements BlobdService.
func (s *readService) FetchManifest(
	ctx context.Context, req *blobdv1.FetchManifestRequest,
) (*blobdv1.FetchManifestResponse, error) {
	options, err := optionsOf(req.Options)
	if err != nil {
		return nil, err
	}
	r, raw, err := s.domain.Manifest(ctx, principalOf(ctx).Key(), req.Reference, options)
	if err != nil {
		return nil, err
	}
	return &blobdv1.FetchManifestResponse{Resolution: resolutionTo(r), Manifest: raw}, nil
}

// Prefetch implements BlobdService.
func (s *readService) Prefetch(
	req *blobdv1.PrefetchRequest, stream grpc.ServerStreamingServer[blobdv1.PrefetchResponse],
) error {
	ctx := stream.Context()
	a, options, err := s.pull(ctx, req.Reference, req.Options)
	if err != nil {
		return err
	}
	if err := stream.Send(&blobdv1.PrefetchResponse{Resolution: resolutionTo(a.Resolution)}); err != nil {
		return err
	}
	last := new(blobdv1.PrefetchResponse)
	ticks := &ticker{send: func() error { return stream.Send(last) }}
	err = s.domain.Prefetch(ctx, a, req.Patterns, options, func(p pullthrough.Progress) {
		ticks.update(func() {
			last = &blobdv1.PrefetchResponse{
				FilesDone: p.FilesDone, FilesTotal: p.FilesTotal,
				BytesDone: p.BytesDone, BytesTotal: p.BytesTotal,
				FilesUnkept: p.FilesUnkept,
			}
		})
	})
	if err != nil {
		return err
	}
	last.Done = true
	return stream.Send(last)
}

// orRoot is path, or the root where a request names none.
func orRoot(path string) string {
	if path == "" {
		return "."
	}
	return path
}
