package server

import (
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
)

// listBytes is about how many bytes of entries one message carries: far under the 4 MiB that clients accept by default,
// and enough that 200,000 files take a few hundred messages.
const listBytes = 256 << 10

// List implements BlobdService. It holds one message's entries at a time.
func (s *readService) List(req *blobdv1.ListRequest, stream grpc.ServerStreamingServer[blobdv1.ListResponse]) error {
	a, _, err := s.pull(stream.Context(), req.Reference, req.Options)
	if err != nil {
		return err
	}
	nodes, err := nodesOf(a.Tree, orRoot(req.Path), req.Recursive)
	if err != nil {
		return err
	}
	msg, size := &blobdv1.ListResponse{Resolution: resolutionTo(a.Resolution)}, 0
	for n := range nodes {
		e := nodeTo(n)
		msg.Entries = append(msg.Entries, e)
		size += proto.Size(e)
		if size < listBytes {
			continue
		}
		if err := stream.Send(msg); err != nil {
			return err
		}
		msg, size = &blobdv1.ListResponse{Entries: msg.Entries[:0]}, 0
	}
	if len(msg.Entries) > 0 || msg.Resolution != nil {
		return stream.Send(msg)
	}
	return nil
}

// nodesOf is what is in a folder, or all that is below it.
func nodesOf(t *archive.Tree, folder string, recursive bool) (iter.Seq[archive.Node], error) {
	if !recursive {
		return t.ReadDir(folder)
	}
	n, err := t.Stat(folder)
	if err != nil {
		return nil, err
	}
	if !n.Dir {
		return nil, fault.New(fault.NotDirectory, "%s is a file", folder)
	}
	return t.Walk(folder), nil
}
