package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
	"github.com/blobd/blobd/internal/fault"
)

// got is a whole ReadFile call.
type got struct {
	header  *blobdv1.ReadFileHeader
	data    []byte
	summary *blobdv1.ReadFileSummary
}

// readPlain reads as any generated client does, and checks the order of messages.
func readPlain(ctx context.Context, c blobdv1.BlobdServiceClient, req *blobdv1.ReadFileRequest) (g got, err error) {
	stream, err := c.ReadFile(ctx, req)
	if err != nil {
		return g, err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return g, nil
		}
		if err != nil {
			return g, err
		}
		switch {
		case g.header == nil && m.Header != nil && m.Data == nil && m.Summary == nil:
			g.header = m.Header
		case g.header != nil && g.summary == nil && m.Header == nil && m.Data != nil && m.Summary == nil:
			g.data = append(g.data, m.Data...)
		case g.header != nil && g.summary == nil && m.Header == nil && m.Data == nil && m.Summary != nil:
			g.summary = m.Summary
		default:
			return g, fmt.Errorf("a message out of order: header %v, %d bytes, summary %v", m.Header, len(m.Data), m.Summary)
		}
	}
}

// readWire reads with the codec of api/wire.
func readWire(ctx context.Context, c blobdv1.BlobdServiceClient, req *blobdv1.ReadFileRequest) (g got, err error) {
	stream, err := c.ReadFile(ctx, req, grpc.ForceCodecV2(wire.Codec()))
	if err != nil {
		return g, err
	}
	var m wire.Response
	defer m.Free()
	for {
		if err := stream.RecvMsg(&m); err == io.EOF {
			return g, nil
		} else if err != nil {
			return g, err
		}
		for _, b := range m.Data {
			g.data = append(g.data, b.ReadOnlyData()...)
		}
		if m.Header != nil {
			g.header = m.Header
		}
		if m.Summary != nil {
			g.summary = m.Summary
		}
	}
}

func TestReadFile(t *testing.T) {
	files := map[string][]byte{}
	for _, n := range []int{0, 1, 8191, 8192, 64 << 10, 256<<10 - 1, 256 << 10, 256<<10 + 1, 5<<20 + 3} {
		files[fmt.Sprintf("f%d", n)] = noise(n)
	}
	r := start(t, newDomain(t, files), nil)
	length := func(n int64) *int64 { return &n }
	for path, data := range files {
		size := int64(len(data))
		cases := []struct {
			offset int64
			length *int64
			want   []byte
		}{
			{0, nil, data},
			{size, nil, nil},
			{size, length(5), nil},
			{0, length(0), nil},
			{size / 2, nil, data[size/2:]},
			{size / 2, length(size), data[size/2:]},
			{size / 3, length(size / 3), data[size/3 : size/3+size/3]},
		}
		for _, c := range cases {
			req := &blobdv1.ReadFileRequest{Reference: ref, Path: path, Offset: c.offset, Length: c.length}
			name := fmt.Sprintf("%s from %d, %v bytes", path, c.offset, c.length)
			for client, read := range map[string]func(context.Context, blobdv1.BlobdServiceClient, *blobdv1.ReadFileRequest) (got, error){
				"plain": readPlain, "wire": readWire,
			} {
				g, err := read(t.Context(), r, req)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, client, err)
				}
				if !bytes.Equal(g.data, c.want) {
					t.Errorf("%s, %s: %d bytes that are not the file's", name, client, len(g.data))
				}
				if g.header.GetLength() != int64(len(c.want)) || g.header.GetEntry().GetPath() != path ||
					g.header.GetEntry().GetSize() != size || !g.summary.GetVerified() || len(g.summary.GetSteps()) != 1 {
					t.Errorf("%s, %s: header %v, summary %v", name, client, g.header, g.summary)
				}
			}
		}
	}
}

// A blob is read as a file is.
func TestReadBlob(t *testing.T) {
	data := noise(3 << 20)
	r := start(t, newDomain(t, map[string][]byte{"d/f": data}), nil)
	g, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Blob: digest.FromBytes(data).String(), Offset: 5})
	if err != nil || !bytes.Equal(g.data, data[5:]) {
		t.Errorf("%d bytes, %v", len(g.data), err)
	}
}

func TestReadFileRefuses(t *testing.T) {
	r := start(t, newDomain(t, map[string][]byte{"d/f": []byte("hello")}), nil)
	negative := int64(-1)
	cases := []struct {
		name   string
		req    *blobdv1.ReadFileRequest
		code   codes.Code
		reason fault.Reason
	}{
		{"negative offset", &blobdv1.ReadFileRequest{Path: "d/f", Offset: -1}, codes.InvalidArgument, fault.InvalidArgument},
		{"negative length", &blobdv1.ReadFileRequest{Path: "d/f", Length: &negative}, codes.InvalidArgument, fault.InvalidArgument},
		{"past the end", &blobdv1.ReadFileRequest{Path: "d/f", Offset: 6}, codes.OutOfRange, fault.OutOfRange},
		{"missing", &blobdv1.ReadFileRequest{Path: "d/g"}, codes.NotFound, fault.FileUnknown},
		{"folder", &blobdv1.ReadFileRequest{Path: "d"}, codes.InvalidArgument, fault.IsDirectory},
		{"bad path", &blobdv1.ReadFileRequest{Path: "../f"}, codes.InvalidArgument, fault.InvalidPath},
		{"no such blob", &blobdv1.ReadFileRequest{Blob: digest.FromString("none").String()}, codes.NotFound, fault.BlobUnknown},
		{"blob and path", &blobdv1.ReadFileRequest{Blob: digest.FromString("hello").String(), Path: "d/f"},
			codes.InvalidArgument, fault.InvalidArgument},
	}
	for _, c := range cases {
		g, err := readPlain(t.Context(), r, c.req)
		wantStatus(t, c.name, err, c.code, c.reason)
		if g.header != nil {
			t.Errorf("%s: a header came", c.name)
		}
	}
}

// A stream that did not bring all its bytes never ends in OK, whatever the file says.
func TestReadFileThatFailsMidway(t *testing.T) {
	data := noise(3 << 20)
	cases := map[string]struct {
		read   func(ctx context.Context, f *memFile, p []byte) (int, error)
		code   codes.Code
		reason fault.Reason
	}{
		"an error": {func(_ context.Context, f *memFile, p []byte) (int, error) {
			if len(f.data) <= 1<<20 {
				return 0, fault.New(fault.DigestMismatch, "wrong bytes")
			}
			return f.fill(p)
		}, codes.DataLoss, fault.DigestMismatch},
		"an error beside bytes": {func(_ context.Context, f *memFile, p []byte) (int, error) {
			n, err := f.fill(p)
			if err == io.EOF {
				err = fault.New(fault.Truncated, "cut")
			}
			return n, err
		}, codes.DataLoss, fault.Truncated},
		"an early end": {func(_ context.Context, f *memFile, p []byte) (int, error) {
			return copy(p, f.data[:10]), io.EOF
		}, codes.Internal, fault.Internal},
		"too many bytes": {func(_ context.Context, f *memFile, p []byte) (int, error) {
			return len(p), nil
		}, codes.Internal, fault.Internal},
		"a panic": {func(_ context.Context, f *memFile, p []byte) (int, error) {
			panic("oh")
		}, codes.Internal, fault.Internal},
	}
	for name, c := range cases {
		d := newDomain(t, map[string][]byte{"f": data})
		d.read = c.read
		r := start(t, d, nil)
		g, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"})
		wantStatus(t, name, err, c.code, c.reason)
		if g.summary != nil {
			t.Errorf("%s: a summary came", name)
		}
	}
}

// What comes in drops goes out as it comes: the first bytes do not wait for the rest.
func TestReadFileStreamsWhatIsThere(t *testing.T) {
	more := make(chan struct{})
	d := newDomain(t, map[string][]byte{"f": []byte("ab")})
	d.read = func(ctx context.Context, f *memFile, p []byte) (int, error) {
		if len(f.data) == 1 {
			select {
			case <-more:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return f.fill(p[:1])
	}
	r := start(t, d, nil)
	stream, err := r.ReadFile(t.Context(), &blobdv1.ReadFileRequest{Path: "f"})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.Header == nil {
		t.Fatal(m, err)
	}
	if m, err := stream.Recv(); err != nil || string(m.Data) != "a" {
		t.Fatal(m, err)
	}
	close(more)
	if m, err := stream.Recv(); err != nil || string(m.Data) != "b" {
		t.Fatal(m, err)
	}
}

// A caller who goes away ends the call in the domain.
func TestReadFileCanceled(t *testing.T) {
	ended := make(chan error, 1)
	d := newDomain(t, map[string][]byte{"f": []byte("ab")})
	d.read = func(ctx context.Context, f *memFile, p []byte) (int, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return 0, ctx.Err()
	}
	r := start(t, d, nil)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := r.ReadFile(ctx, &blobdv1.ReadFileRequest{Path: "f"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
}
