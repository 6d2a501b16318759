package server

import (
	"io"

	"github.com/opencontainers/go-digest"
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
	var f File
	switch {
	case req.Blob == "":
		f, err = s.domain.Open(ctx, a, req.Path, req.Offset, length, options)
	case req.Path == "":
		f, err = s.domain.OpenBlob(ctx, a, digest.Digest(req.Blob), req.Offset, length, options)
	default:
		err = fault.New(fault.InvalidArgument, "a request for the blob %.256q can't name the path %q, too", req.Blob, req.Path)
	}
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
	if _, err := s.sendData(f, f.Entry().Path, f.Length(), stream); err != nil {
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

// sendData sends what f has to its verified end, and returns how much that was; length is -1 where nobody knows. One that
// brings fewer or more bytes than was said is a bug of ours, and must not end in OK.
func (s *readService) sendData(f io.Reader, name string, length int64, stream grpc.ServerStream) (sent int64, err error) {
	for {
		size := int64(chunkSize)
		if length >= 0 {
			// One byte more than is left, so that a file which is too long shows, and the end comes without another buffer.
			size = min(length-sent+1, chunkSize)
		}
		buf := s.chunks.Get(int(size))
		n, err := f.Read(*buf)
		sent += int64(n)
		tooLong := length >= 0 && sent > length
		if n == 0 || tooLong {
			s.chunks.Put(buf)
		} else {
			*buf = (*buf)[:n]
			data := &wire.Data{Bytes: mem.BufferSlice{mem.NewBuffer(buf, s.chunks)}}
			if err := stream.SendMsg(data); err != nil {
				return sent, err
			}
		}
		switch {
		case tooLong:
			return sent, fault.New(fault.Internal, "%s: more bytes came than its length", name)
		case err == io.EOF && sent < length:
			return sent, fault.New(fault.Internal, "%s: ended %d bytes early", name, length-sent)
		case err == io.EOF:
			return sent, nil
		case err != nil:
			return sent, err
		}
	}
}
