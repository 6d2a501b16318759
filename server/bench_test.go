package server_test

import (
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

// BenchmarkReadFile reads warm files through the socket. Allocations are those of both ends.
func BenchmarkReadFile(b *testing.B) {
	files := map[string][]byte{}
	sizes := []int{4 << 10, 64 << 10, 1 << 20, 16 << 20}
	for _, n := range sizes {
		files[fmt.Sprint(n)] = noise(n)
	}
	r := start(b, newDomain(b, files), nil)
	for _, n := range sizes {
		b.Run(fmt.Sprintf("size=%d", n), func(b *testing.B) {
			conn := dial(b, "unix:"+r.socket, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec())),
				grpc.WithInitialWindowSize(8<<20), grpc.WithInitialConnWindowSize(32<<20))
			defer conn.Close()
			c := blobdv1.NewBlobdServiceClient(conn)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if got := drain(b, c, fmt.Sprint(n)); got != n {
					b.Fatalf("%d bytes", got)
				}
			}
		})
	}
}

// drain reads a file and throws it away.
func drain(b *testing.B, c blobdv1.BlobdServiceClient, path string) (n int) {
	stream, err := c.ReadFile(b.Context(), &blobdv1.ReadFileRequest{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	var m wire.Response
	defer m.Free()
	for {
		if err := stream.RecvMsg(&m); err == io.EOF {
			return n
		} else if err != nil {
			b.Fatal(err)
		}
		n += m.Data.Len()
	}
}
