package server_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/pullthrough"
	"github.com/blobd/blobd/server"
)

func TestMain(m *testing.M) {
	if os.Getenv(callAdminAt) != "" {
		os.Exit(callAdmin(os.Getenv(callAdminAt)))
	}
	goleak.VerifyTestMain(m)
}

const ref = "registry.example/a/b:1"

// domain is a small one: an archive in memory, and whatever a test puts in the place of a method.
type domain struct {
	tree  *archive.Tree
	files map[string][]byte

	pull      func(ctx context.Context, principal string, o pullthrough.Options) error
	read      func(ctx context.Context, f *memFile, p []byte) (int, error)
	closed    func(f *memFile)
	prefetch  func(ctx context.Context, progress func(pullthrough.Progress)) error
	verify    func(progress func(done, total, bytes int64), found func(cache, key, why string)) error
	artifacts []pullthrough.ArtifactInfo
	status    pullthrough.Status
	steps     []pullthrough.Step // of a pull, where they are not those of resolution
	fresh     bool
}

// newDomain holds files; empty folders there are none.
func newDomain(t testing.TB, files map[string][]byte) *domain {
	t.Helper()
	var entries []archive.Entry
	for path, data := range files {
		entries = append(entries, archive.Entry{
			Path: path, Size: int64(len(data)), Mode: 0o640, UID: 7, GID: 8, ModTime: 1_700_000_000_000_000_001,
			Sum: sha256.Sum256(data), HasSum: true, Locator: archive.Range{Codec: archive.Zstd},
		})
	}
	tree, err := archive.NewTree(archive.Entries(entries))
	if err != nil {
		t.Fatal(err)
	}
	return &domain{tree: tree, files: files}
}

func resolution() pullthrough.Resolution {
	d := digest.FromString("manifest")
	return pullthrough.Resolution{
		Reference: oci.Reference{Registry: "registry.example", Repository: "a/b", Tag: "1"}, Digest: d,
		MediaType: "m", ArtifactType: "t", Stale: true, Age: 90 * time.Second,
		Steps: []pullthrough.Step{{Step: "ref", Source: "cache"}},
	}
}

func (d *domain) Pull(ctx context.Context, principal, _ string, o pullthrough.Options) (*pullthrough.Archive, error) {
	if d.pull != nil {
		if err := d.pull(ctx, principal, o); err != nil {
			return nil, err
		}
	}
	res := resolution()
	if d.steps != nil {
		res.Steps, res.Stale = d.steps, !d.fresh
	}
	return &pullthrough.Archive{Resolution: res, Tree: d.tree, StoredSize: 77}, nil
}

func (d *domain) Manifest(ctx context.Context, principal, _ string, o pullthrough.Options) (pullthrough.Resolution, []byte, error) {
	return resolution(), []byte("{}"), nil
}

func (d *domain) Open(
	ctx context.Context, a *pullthrough.Archive, path string, offset, length int64, o pullthrough.Options,
) (server.File, error) {
	e, err := a.Tree.Lookup(path)
	if err != nil {
		return nil, err
	}
	if offset > e.Size {
		return nil, fault.New(fault.OutOfRange, "%s ends at %d", path, e.Size)
	}
	if length < 0 || length > e.Size-offset {
		length = e.Size - offset
	}
	return &memFile{ctx: ctx, d: d, entry: e, data: d.files[path][offset : offset+length], length: length}, nil
}

// OpenBlob has the files as blobs, by their digests.
func (d *domain) OpenBlob(
	ctx context.Context, a *pullthrough.Archive, want digest.Digest, offset, length int64, o pullthrough.Options,
) (server.File, error) {
	for path, data := range d.files {
		if digest.FromBytes(data) == want {
			return d.Open(ctx, a, path, offset, length, o)
		}
	}
	return nil, fault.New(fault.BlobUnknown, "nothing there")
}

func (d *domain) Prefetch(
	ctx context.Context, _ *pullthrough.Archive, _ []string, _ pullthrough.Options, progress func(pullthrough.Progress),
) error {
	return d.prefetch(ctx, progress)
}

// FetchURL has one file at every address, whose size a site tells where its address ends in "sized".
func (d *domain) FetchURL(ctx context.Context, _, address string, want digest.Digest, _ pullthrough.Options) (server.Download, error) {
	data := d.files[want.Encoded()]
	if data == nil {
		return nil, fault.New(fault.BlobUnknown, "nothing there")
	}
	size := int64(-1)
	if strings.HasSuffix(address, "sized") {
		size = int64(len(data))
	}
	return download{&memFile{ctx: ctx, d: d, data: data}, size}, nil
}

type download struct {
	*memFile
	size int64
}

func (d download) Size() int64 { return d.size }

type memFile struct {
	ctx    context.Context
	d      *domain
	entry  *archive.Entry
	data   []byte
	length int64
}

func (f *memFile) Entry() *archive.Entry { return f.entry }
func (f *memFile) Length() int64         { return f.length }
func (f *memFile) Verified() bool        { return true }
func (f *memFile) Steps() []pullthrough.Step {
	return []pullthrough.Step{{Step: "content", Source: "cache"}}
}
func (f *memFile) Close() error {
	if f.d.closed != nil {
		f.d.closed(f)
	}
	return nil
}

func (f *memFile) Read(p []byte) (int, error) {
	if f.d.read != nil {
		return f.d.read(f.ctx, f, p)
	}
	return f.fill(p)
}

func (f *memFile) fill(p []byte) (int, error) {
	n := copy(p, f.data)
	f.data = f.data[n:]
	if len(f.data) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (d *domain) Status() pullthrough.Status { return d.status }

func (d *domain) Artifacts(context.Context) []pullthrough.ArtifactInfo { return d.artifacts }

func (d *domain) Prune(_ context.Context, o pullthrough.PruneOptions) (pullthrough.Report, error) {
	return pullthrough.Report{FreedEntries: 1, FreedBytes: o.Target, Bytes: int64(o.UnusedFor)}, nil
}

func (d *domain) Remove(context.Context, string) (digest.Digest, pullthrough.Report, error) {
	return "", pullthrough.Report{}, fault.New(fault.ArtifactUnknown, "no such artifact")
}

func (d *domain) Clear(context.Context, []string) (pullthrough.Report, error) {
	return pullthrough.Report{}, nil
}

func (d *domain) Verify(
	_ context.Context, progress func(done, total, bytes int64), found func(cache, key, why string),
) error {
	return d.verify(progress, found)
}

func (d *domain) Pin(context.Context, string, string, pullthrough.Options) (pullthrough.Resolution, int64, int64, error) {
	return resolution(), 10, 3, nil
}

func (d *domain) Unpin(context.Context, string) (digest.Digest, error) {
	return digest.FromString("x"), nil
}

// running is a server on a socket of its own, and a plain client of it.
type running struct {
	blobdv1.BlobdServiceClient
	admin  blobdv1.AdminServiceClient
	conn   *grpc.ClientConn
	server *server.Server
	socket string
}

// start runs a server of d until the test ends; set may change its options.
func start(t testing.TB, d *domain, set func(*server.Options)) *running {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "run", "s")
	l, err := server.Listen(t.Context(), socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, d, l, "unix:"+socket, set)
}

func startOn(t testing.TB, d *domain, l net.Listener, target string, set func(*server.Options)) *running {
	t.Helper()
	o := server.Options{Reader: d, Admin: d}
	if set != nil {
		set(&o)
	}
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	})
	conn := dial(t, target)
	t.Cleanup(func() {
		conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		served.Wait()
	})
	return &running{
		BlobdServiceClient: blobdv1.NewBlobdServiceClient(conn), admin: blobdv1.NewAdminServiceClient(conn),
		conn: conn, server: s, socket: l.Addr().String(),
	}
}

func dial(t testing.TB, target string, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append(o, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// noise returns n bytes that are the same for the same n.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return b
}
