package server

import (
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
	"github.com/blobd/blobd/internal/fault"
)

// ReadFile implements BlobdService: header, data, summary. Data goes out in the buffers that it was read into.
func (s *readService) ReadFile(
	req *blobdv1.ReadFileRequest, stream grpc.ServerStreamingServer[blobdv1.ReadFileResponse],
) error {
	ctx := stream.Context()
	length, err := lengthOf(req)
	if err != nil {
		return err
	}
	a, options, err := s.pull(ctx, req.Reference, req.Options)
	if err != nil {
		return err
	}
	f, err := s.domain.Open(ctx, a, req.Path, req.Offset, length, options)
	if err != nil {
		return err
	}
	defer f.Close()
	header := &blobdv1.ReadFileHeader{
		Resolution: resolutionTo(a.Resolution), Entry: entryTo(f.Entry()), Length: f.Length(),
	}
	if err := stream.Send(&blobdv1.ReadFileResponse{Header: header}); err != nil {
		return err
	}
	a.Release() // for the file alone it need not stay, however long that takes
	if err := s.sendData(f, stream); err != nil {
		return err
	}
	return stream.Send(&blobdv1.ReadFileResponse{
		Summary: &blobdv1.ReadFileSummary{Verified: f.Verified(), Steps: stepsTo(f.Steps())},
	})
}

// lengthOf checks what a request asks for; -1 is to the end.
func lengthOf(req *blobdv1.ReadFileRequest) (int64, error) {
	if req.Offset < 0 {
		return 0, fault.New(fault.InvalidArgument, "%s: offset %d is negative", req.Path, req.Offset)
	}
	if req.Length == nil {
		return -1, nil
	}
	if *req.Length < 0 {
		return 0, fault.New(fault.InvalidArgument, "%s: length %d is negative", req.Path, *req.Length)
	}
	return *req.Length, nil
}

// sendData sends f to its verified end. A file that brings fewer or more bytes than its header said is a bug of ours,
// and must not end in OK.
func (s *readService) sendData(f File, stream grpc.ServerStream) error {
	left := f.Length()
	for {
		// One byte more than is left, so that a file which is too long shows, and the end comes without another buffer.
		buf := s.chunks.Get(int(min(left+1, chunkSize)))
		n, err := f.Read(*buf)
		left -= int64(n)
		if n == 0 || left < 0 {
			s.chunks.Put(buf)
		} else {
			*buf = (*buf)[:n]
			data := &wire.Data{Bytes: mem.BufferSlice{mem.NewBuffer(buf, s.chunks)}}
			if err := stream.SendMsg(data); err != nil {
				return err
			}
		}
		switch {
		case left < 0:
			return fault.New(fault.Internal, "%s: more bytes came than its length", f.Entry().Path)
		case err == io.EOF && left > 0:
			return fault.New(fault.Internal, "%s: ended %d bytes early", f.Entry().Path, left)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
