package server

import (
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// FetchURL implements BlobdService: header, data, summary.
func (s *readService) FetchURL(
	req *blobdv1.FetchURLRequest, stream grpc.ServerStreamingServer[blobdv1.FetchURLResponse],
) error {
	options, err := optionsOf(req.Options)
	if err != nil {
		return err
	}
	ctx := stream.Context()
	f, err := s.domain.FetchURL(ctx, principalOf(ctx).Key(), req.Url, digest.Digest(req.Digest), options)
	if err != nil {
		return err
	}
	defer f.Close()
	header := new(blobdv1.FetchURLHeader)
	if size := f.Size(); size >= 0 {
		header.Size = &size
	}
	if err := stream.Send(&blobdv1.FetchURLResponse{Header: header}); err != nil {
		return err
	}
	sent, err := s.sendData(f, "the file "+req.Digest, f.Size(), stream)
	if err != nil {
		return err
	}
	return stream.Send(&blobdv1.FetchURLResponse{
		Summary: &blobdv1.FetchURLSummary{Size: sent, Steps: stepsTo(f.Steps())},
	})
}
