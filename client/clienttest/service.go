package clienttest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path"
	"testing/fstest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

const (
	dataSize  = 64 << 10 // of one message of ReadFile
	listCount = 100      // entries in one message of List
)

// service is the reading half of the contract.
type service struct {
	blobdv1.UnimplementedBlobdServiceServer
	daemon *Daemon
}

func (s service) Pull(_ context.Context, r *blobdv1.PullRequest) (*blobdv1.PullResponse, error) {
	tree, res, err := s.daemon.find(Call{Method: "Pull", Reference: r.GetReference(), Options: r.GetOptions()})
	if err != nil {
		return nil, err
	}
	out := &blobdv1.PullResponse{Resolution: res, Files: int64(len(tree))}
	for _, f := range tree {
		out.Size += int64(len(f.Data))
	}
	out.StoredSize = out.Size
	return out, nil
}

func (s service) Stat(_ context.Context, r *blobdv1.StatRequest) (*blobdv1.StatResponse, error) {
	tree, res, err := s.daemon.find(
		Call{Method: "Stat", Reference: r.GetReference(), Path: r.GetPath(), Options: r.GetOptions()})
	if err != nil {
		return nil, err
	}
	fi, err := look(tree, r.GetPath())
	if err != nil {
		return nil, err
	}
	return &blobdv1.StatResponse{Resolution: res, Entry: toEntry(tree, r.GetPath(), fi)}, nil
}

func (s service) List(r *blobdv1.ListRequest, stream grpc.ServerStreamingServer[blobdv1.ListResponse]) error {
	tree, res, err := s.daemon.find(
		Call{Method: "List", Reference: r.GetReference(), Path: r.GetPath(), Options: r.GetOptions()})
	if err != nil {
		return err
	}
	fi, err := look(tree, r.GetPath())
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return Status(codes.InvalidArgument, "NOT_DIRECTORY", r.GetPath()+": is a file", "", 0)
	}
	m := &blobdv1.ListResponse{Resolution: res}
	if s.daemon.Listing != nil {
		m.Entries = s.daemon.Listing
		return stream.Send(m)
	}
	root := path.Clean(r.GetPath())
	err = fs.WalkDir(tree, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if m.Entries = append(m.Entries, toEntry(tree, name, fi)); len(m.Entries) == listCount {
			err, m = stream.Send(m), new(blobdv1.ListResponse)
		}
		if err == nil && d.IsDir() && !r.GetRecursive() {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return err
	}
	return stream.Send(m)
}

func (s service) ReadFile(
	r *blobdv1.ReadFileRequest, stream grpc.ServerStreamingServer[blobdv1.ReadFileResponse],
) error {
	call := Call{Method: "ReadFile", Reference: r.GetReference(), Path: r.GetPath(), Options: r.GetOptions()}
	tree, res, err := s.daemon.find(call)
	if err != nil {
		return err
	}
	fi, err := look(tree, r.GetPath())
	switch {
	case err != nil:
		return err
	case fi.IsDir():
		return Status(codes.InvalidArgument, "IS_DIRECTORY", r.GetPath()+": is a folder", "list it with `blobd ls`", 0)
	case r.GetOffset() < 0 || r.GetOffset() > fi.Size():
		return Status(codes.OutOfRange, "OUT_OF_RANGE",
			fmt.Sprintf("%s: offset %d is past its end at %d", r.GetPath(), r.GetOffset(), fi.Size()), "", 0)
	}
	data := tree[r.GetPath()].Data[r.GetOffset():]
	if r.Length != nil && r.GetLength() < int64(len(data)) {
		data = data[:r.GetLength()]
	}
	header := &blobdv1.ReadFileHeader{
		Resolution: res, Entry: toEntry(tree, r.GetPath(), fi), Length: int64(len(data)),
	}
	if err := stream.Send(&blobdv1.ReadFileResponse{Header: header}); err != nil {
		return err
	}
	whole := int64(len(data)) == fi.Size()
	for len(data) > 0 {
		n := min(dataSize, len(data))
		if err := stream.Send(&blobdv1.ReadFileResponse{Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	if s.daemon.AfterData != nil {
		if err := s.daemon.AfterData(call); err != nil {
			return err
		}
	}
	return stream.Send(&blobdv1.ReadFileResponse{Summary: &blobdv1.ReadFileSummary{
		Verified: whole || r.GetOptions().GetRequireVerified(),
		Steps:    []*blobdv1.Step{{Step: "content", Source: "cache"}},
	}})
}

func (s service) FetchURL(
	r *blobdv1.FetchURLRequest, stream grpc.ServerStreamingServer[blobdv1.FetchURLResponse],
) error {
	call := Call{Method: "FetchURL", Reference: r.GetUrl(), Path: r.GetDigest(), Options: r.GetOptions()}
	if err := s.daemon.called(call); err != nil {
		return err
	}
	data, ok := s.daemon.Site[r.GetUrl()]
	if !ok {
		return Status(codes.NotFound, "BLOB_UNKNOWN", r.GetUrl()+": not found", "check the address", 0)
	}
	header := new(blobdv1.FetchURLHeader)
	if !s.daemon.Sizeless {
		header.Size = new(int64(len(data)))
	}
	if err := stream.Send(&blobdv1.FetchURLResponse{Header: header}); err != nil {
		return err
	}
	for left := data; len(left) > 0; left = left[min(dataSize, len(left)):] {
		if err := stream.Send(&blobdv1.FetchURLResponse{Data: left[:min(dataSize, len(left))]}); err != nil {
			return err
		}
	}
	if s.daemon.AfterData != nil {
		if err := s.daemon.AfterData(call); err != nil {
			return err
		}
	}
	if fmt.Sprintf("sha256:%x", sha256.Sum256(data)) != r.GetDigest() {
		return Status(codes.DataLoss, "DIGEST_MISMATCH", "the bytes have another digest", "", 0)
	}
	return stream.Send(&blobdv1.FetchURLResponse{Summary: &blobdv1.FetchURLSummary{
		Size: int64(len(data)), Steps: []*blobdv1.Step{{Step: "content", Source: "upstream"}},
	}})
}

func (s service) FetchManifest(
	_ context.Context, r *blobdv1.FetchManifestRequest,
) (*blobdv1.FetchManifestResponse, error) {
	_, res, err := s.daemon.find(Call{Method: "FetchManifest", Reference: r.GetReference(), Options: r.GetOptions()})
	if err != nil {
		return nil, err
	}
	return &blobdv1.FetchManifestResponse{Resolution: res, Manifest: Manifest(res.GetDigest())}, nil
}

// Manifest is what the daemon answers as the manifest of a digest. It is none that a registry would take.
func Manifest(digest string) []byte { return []byte("{\n  \"digest\": \"" + digest + "\"}") }

func (s service) Prefetch(
	r *blobdv1.PrefetchRequest, stream grpc.ServerStreamingServer[blobdv1.PrefetchResponse],
) error {
	tree, res, err := s.daemon.find(Call{Method: "Prefetch", Reference: r.GetReference(), Options: r.GetOptions()})
	if err != nil {
		return err
	}
	var sizes []int64
	m := &blobdv1.PrefetchResponse{Resolution: res}
	for name, f := range tree {
		if matches(r.GetPatterns(), name) {
			sizes = append(sizes, int64(len(f.Data)))
			m.FilesTotal, m.BytesTotal = m.FilesTotal+1, m.BytesTotal+int64(len(f.Data))
		}
	}
	for _, size := range sizes {
		if err := stream.Send(m); err != nil {
			return err
		}
		m.Resolution, m.FilesDone, m.BytesDone = nil, m.FilesDone+1, m.BytesDone+size
	}
	m.Done = true
	return stream.Send(m)
}

// matches reports whether a pattern matches name or one of the folders it is in.
func matches(patterns []string, name string) bool {
	for ; name != "."; name = path.Dir(name) {
		for _, p := range patterns {
			if ok, err := path.Match(p, name); err == nil && ok {
				return true
			}
		}
	}
	return len(patterns) == 0
}

func toEntry(tree fstest.MapFS, name string, fi fs.FileInfo) *blobdv1.Entry {
	e := &blobdv1.Entry{Path: path.Clean(name), Directory: fi.IsDir(), Mode: uint32(fi.Mode().Perm())}
	if fi.IsDir() {
		return e
	}
	e.Size, e.Encoding = fi.Size(), "stored"
	e.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(tree[name].Data))
	if !fi.ModTime().IsZero() {
		e.Modified = timestamppb.New(fi.ModTime())
	}
	return e
}
