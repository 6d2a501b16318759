// Package clienttest is a daemon for tests of programs that use package client: it serves files out of memory, over the
// real contract on a real socket, and fails when it is told to. It caches nothing and asks no registry.
package clienttest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// Call is one call that the daemon got.
type Call struct {
	Method    string // as in the contract: "Pull", "ReadFile", …
	Reference string
	Path      string
	Options   *blobdv1.ReadOptions
}

// Daemon serves what Tag gave it. Its methods can be called while it serves.
type Daemon struct {
	Socket string
	Health *health.Server // serving from the start

	// Before, when set, is asked before each call is answered; AfterData when all of a file's bytes were sent, in place
	// of the summary. An error is the answer then; Status makes one. Both are set before the first call.
	Before    func(Call) error
	AfterData func(Call) error
	// Stale, when set before the first call, is how old every answer by tag is, the registry being away.
	Stale time.Duration
	// Listing, when set before the first call, is what List sends in place of what there is.
	Listing []*blobdv1.Entry
	// Site, when set before the first call, holds files by their address, for FetchURL; Sizeless has it not say how many
	// bytes they have.
	Site     map[string][]byte
	Sizeless bool

	admin atomic.Pointer[blobdv1.AdminServiceServer]

	server *grpc.Server

	mu    sync.Mutex // guards what follows
	tags  map[string]string
	trees map[string]fstest.MapFS // by registry/repository@digest
	calls []Call
}

// Start runs a daemon on a socket of its own until the test ends.
func Start(t testing.TB) *Daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "blobd") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d, err := Listen(filepath.Join(dir, "blobd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

// Listen runs a daemon on the socket at path until Stop.
func Listen(path string) (*Daemon, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		Socket: path, Health: health.NewServer(), server: grpc.NewServer(),
		tags: map[string]string{}, trees: map[string]fstest.MapFS{},
	}
	blobdv1.RegisterBlobdServiceServer(d.server, service{daemon: d})
	blobdv1.RegisterAdminServiceServer(d.server, admin{daemon: d})
	healthv1.RegisterHealthServer(d.server, d.Health)
	go d.server.Serve(listener)
	return d, nil
}

// Stop ends the daemon and all calls under way.
func (d *Daemon) Stop() { d.server.Stop() }

// Tag makes ref, registry/repository:tag, point to an archive of files, and returns its digest.
func (d *Daemon) Tag(ref string, files fstest.MapFS) (digest string) {
	sum := sha256.New()
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(sum, "%q %d\n", name, len(files[name].Data))
		sum.Write(files[name].Data)
	}
	digest = fmt.Sprintf("sha256:%x", sum.Sum(nil))
	repository, _, _ := cutTag(ref)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tags[ref] = repository + "@" + digest
	d.trees[repository+"@"+digest] = files
	return digest
}

// Calls returns the calls so far.
func (d *Daemon) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Call(nil), d.calls...)
}

// Status makes an error as a daemon sends it.
func Status(code codes.Code, reason, message, remedy string, retry time.Duration) error {
	info := &errdetails.ErrorInfo{Domain: "blobd", Reason: reason}
	if remedy != "" {
		info.Metadata = map[string]string{"remedy": remedy}
	}
	details := []protoadapt.MessageV1{info}
	if retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	st, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		return err
	}
	return st.Err()
}

// cutTag splits registry/repository:tag; the registry may have a port.
func cutTag(ref string) (repository, tag string, ok bool) {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:], true
	}
	return ref, "", false
}

// find notes the call and returns what it is about.
func (d *Daemon) find(call Call) (fstest.MapFS, *blobdv1.Resolution, error) {
	if err := d.called(call); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name, source := call.Reference, "request"
	if !strings.Contains(name, "@") {
		name, source = d.tags[name], "cache"
	}
	tree, ok := d.trees[name]
	if !ok {
		return nil, nil, Status(codes.NotFound, "MANIFEST_UNKNOWN",
			call.Reference+": the registry has no such manifest", "check the name and the tag", 0)
	}
	_, digest, _ := strings.Cut(name, "@")
	steps := []*blobdv1.Step{
		{Step: "ref", Source: source}, {Step: "manifest", Source: "cache"}, {Step: "index", Source: "memory"},
	}
	res := &blobdv1.Resolution{
		Reference: name, Digest: digest, MediaType: "application/vnd.oci.image.manifest.v1+json",
		ArtifactType: "application/vnd.meigma.blob.v1", Age: durationpb.New(0), Steps: steps,
	}
	if source == "cache" && d.Stale > 0 {
		res.Stale, res.Age = true, durationpb.New(d.Stale)
	}
	return tree, res, nil
}

// look finds a path in a tree.
func look(tree fstest.MapFS, path string) (fs.FileInfo, error) {
	if path == "" {
		path = "."
	}
	fi, err := tree.Stat(path)
	if !fs.ValidPath(path) {
		return nil, Status(codes.InvalidArgument, "INVALID_PATH", path+": not a clean relative path", "", 0)
	}
	if err != nil {
		return nil, Status(codes.NotFound, "FILE_UNKNOWN", path+": the archive has no such file",
			"list them with `blobd ls -R`", 0)
	}
	return fi, nil
}

// called notes a call, and returns what Before says.
func (d *Daemon) called(call Call) error {
	d.mu.Lock()
	d.calls = append(d.calls, call)
	d.mu.Unlock()
	if d.Before != nil {
		return d.Before(call)
	}
	return nil
}

// SetAdmin has s answer the admin service, which is closed before, and again with nil.
func (d *Daemon) SetAdmin(s blobdv1.AdminServiceServer) {
	if s == nil {
		d.admin.Store(nil)
		return
	}
	d.admin.Store(&s)
}
