// Package faults lets everything go wrong upstream of a whole daemon and holds it against the fault table: the gRPC code
// and reason that a caller sees, whether it is told to come back, how long it took, what it cost the registry, and that
// nothing wrong was kept. The daemon is wired as cmd/blobd does it and reached through a gRPC client; both sides of
// it are connections in memory, and time is virtual.
package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/metrics"
	"github.com/blobd/blobd/pullthrough"
	"github.com/blobd/blobd/server"
)

const (
	registryName = "registry.test"
	repository   = "acme/app"
	reference    = registryName + "/" + repository + ":v1"

	block    = 64 << 10
	bigSize  = 5*block + 1000 // more than a file that is read in one piece
	bigFile  = "big.bin"
	smallOne = "small.txt"

	// latency of every request, so that with virtual time all callers have come before the first is answered.
	latency = 5 * time.Millisecond
)

// content is what the registry holds.
type content struct {
	registry http.Handler // without faults
	files    map[string][]byte
	manifest digest.Digest // of v1
	moved    []byte        // another manifest, not tagged v1
	index    digest.Digest
	data     digest.Digest
}

// stocked is the registry of all tests that change nothing in it. TestMain makes it, outside of all bubbles: only its
// handler is used inside.
var stocked *content

func TestMain(m *testing.M) {
	c, closeAll, err := fill()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stocked = c
	code := m.Run()
	closeAll()
	os.Exit(code)
}

// fill makes a registry with an archive.
func fill() (_ *content, closeAll func(), err error) {
	reg, err := registrytest.Open(registrytest.Options{})
	if err != nil {
		return nil, nil, err
	}
	handler := newOutside(reg)
	c := &content{registry: handler, files: map[string][]byte{
		bigFile: noise(1, bigSize), smallOne: noise(2, 1000),
	}}
	push := func(tag string, files map[string][]byte) (digest.Digest, []byte, []byte) {
		var list []archivetest.File
		for path, data := range files {
			list = append(list, archivetest.File{Path: path, Data: data})
		}
		index, data := archivetest.Build(list, archivetest.Options{})
		d, pushErr := archivetest.Push(context.Background(), reg.PushHost(), repository+":"+tag, index, data)
		err = errors.Join(err, pushErr)
		return d, index, data
	}
	_, index, data := push("other", map[string][]byte{smallOne: noise(3, 2000)})
	i, d := archivetest.Layers(index, data)
	c.moved = archivetest.Manifest(i, d)
	var raw []byte
	c.manifest, index, raw = push("v1", c.files)
	c.index, c.data = digest.FromBytes(index), digest.FromBytes(raw)
	return c, func() {
		handler.close()
		reg.Close()
	}, err
}

func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// moveTag makes v1 point to the other archive.
func (c *content) moveTag() {
	req, _ := http.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/v1", bytes.NewReader(c.moved))
	req.Header.Set("Content-Type", oci.MediaTypeImageManifest)
	c.registry.ServeHTTP(httptest.NewRecorder(), req)
}

// world is a daemon with a registry that can fail.
type world struct {
	t *testing.T
	*content
	net     *network
	reg     *faultregistry.Registry
	site    *site
	service *pullthrough.Service
	server  *server.Server
	metrics *metrics.Metrics
	client  blobdv1.BlobdServiceClient
	log     *lines
	reload  func(registries map[string]fetcher.Registry)
}

// setup is what a test wants otherwise than the default.
type setup struct {
	next        func(*content) http.Handler // behind the faults; nil is the content's own
	registries  map[string]fetcher.Registry
	credentials string // a file of logins
	limits      fetcher.Limits
	urls        fetcher.URLs
	policy      func(*pullthrough.Policy)
	own         bool  // a registry of its own, which may be changed
	maxSize     int64 // of the cache; 0 is as good as no limit
}

// inWorld runs f in a bubble of its own with a fresh daemon, and takes everything down again.
func inWorld(t *testing.T, o setup, f func(w *world)) {
	t.Helper()
	c := stocked
	if o.own {
		own, closeAll, err := fill()
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll()
		c = own
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(start(t, c, dir, o)) })
}

func start(t *testing.T, c *content, dir string, o setup) *world {
	t.Helper()
	w := &world{t: t, content: c, net: newNetwork(), log: &lines{}}
	next := c.registry
	if o.next != nil {
		next = o.next(c)
	}
	w.reg = faultregistry.New(next, faultregistry.Latency(latency))
	w.site = w.net.serve(t, registryName+":80", "", w.reg, nil)

	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(w.log), zap.DebugLevel))
	w.metrics = metrics.New(metrics.Options{Registries: []string{registryName}})
	size := o.maxSize
	if size == 0 {
		size = 1 << 30
	}
	caches, err := cache.Open(cache.Options{
		Dir: filepath.Join(dir, "cache"), MaxSize: size, MemorySize: 1 << 20, Now: time.Now, Caches: map[string]cache.Config{
			"ref": {Size: 10 << 20}, "manifest": {Size: 50 << 20}, "index": {Size: 200 << 20},
			"content": {Size: size}, "block": {Size: size},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	logins, err := credentials.New(credentials.Options{File: o.credentials, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	plain := true
	registries := map[string]fetcher.Registry{registryName: {PlainHTTP: &plain}}
	for name, r := range o.registries {
		registries[name] = r
	}
	upstream := fetcher.Options{
		Registries: registries, Credentials: logins, Limits: o.limits, URLs: o.urls, Observer: w.metrics, Now: time.Now,
		Log: slog.New(zapslog.NewHandler(log.Core())), Dial: w.net.dial,
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	up, err := fetcher.New(upstream)
	if err != nil {
		t.Fatal(err)
	}
	w.reload = func(registries map[string]fetcher.Registry) {
		upstream.Registries = registries
		if err := up.Reload(upstream); err != nil {
			t.Fatal(err)
		}
	}
	policy := pullthrough.Policy{
		TTL:             func(oci.Reference) pullthrough.TTL { return pullthrough.TTL{For: 15 * time.Minute} },
		RequireVerified: func(oci.Reference) bool { return false },
		MaxStale:        24 * time.Hour, Grant: 24 * time.Hour, NegativeTTL: 10 * time.Second,
		MaxIndex: 64 << 20, MaxPinned: 1 << 29,
	}
	if o.policy != nil {
		o.policy(&policy)
	}
	w.service = pullthrough.New(caches, up, policy, w.metrics, time.Now)
	w.server, err = server.New(server.Options{
		Reader: server.ReaderOf(w.service), Admin: w.service, Logger: log, Registerer: w.metrics.Registerer(),
	})
	if err != nil {
		t.Fatal(err)
	}
	socket := newListener()
	var serving sync.WaitGroup
	serving.Go(func() { _ = w.server.Serve(socket) })
	conn, err := grpc.NewClient("passthrough:///blobd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return socket.dial(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	w.client = blobdv1.NewBlobdServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = w.server.Shutdown(ctx)
		serving.Wait()
		if err := errors.Join(w.service.Close(ctx), closed(up), caches.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func closed(f *fetcher.Fetcher) error {
	f.Close()
	return nil
}

// lines is a log in memory.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// outcome is what one call came to.
type outcome struct {
	err        error
	resolution *blobdv1.Resolution
	data       []byte
	verified   bool
	took       time.Duration
}

func (o outcome) code() codes.Code { return status.Code(o.err) }

func (o outcome) reason() fault.Reason {
	for _, d := range status.Convert(o.err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == "blobd" {
			return fault.Reason(info.Reason)
		}
	}
	return ""
}

// retry is the RetryInfo; 0 where there is none.
func (o outcome) retry() time.Duration {
	for _, d := range status.Convert(o.err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func (o outcome) String() string {
	return fmt.Sprintf("%s %s retry %v after %v: %s", o.code(), o.reason(), o.retry(), o.took, status.Convert(o.err).Message())
}

// patience is longer than any limit lets a call take: what needs it is stuck.
const patience = 10 * time.Minute

func (w *world) pull(ref string, o *blobdv1.ReadOptions) outcome {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	began := time.Now()
	resp, err := w.client.Pull(ctx, &blobdv1.PullRequest{Reference: ref, Options: o})
	return outcome{err: err, resolution: resp.GetResolution(), took: time.Since(began)}
}

func (w *world) read(path string, offset, length int64) outcome {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	return w.readIn(ctx, reference, path, offset, length)
}

// readIn reads a file; a negative length is to its end.
func (w *world) readIn(ctx context.Context, ref, path string, offset, length int64) (o outcome) {
	began := time.Now()
	defer func() { o.took = time.Since(began) }()
	req := &blobdv1.ReadFileRequest{Reference: ref, Path: path, Offset: offset}
	if length >= 0 {
		req.Length = &length
	}
	stream, err := w.client.ReadFile(ctx, req)
	if err != nil {
		return outcome{err: err}
	}
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return o
		}
		if err != nil {
			o.err = err
			return o
		}
		o.data = append(o.data, resp.Data...)
		if resp.Header != nil {
			o.resolution = resp.Header.Resolution
		}
		if resp.Summary != nil {
			o.verified = resp.Summary.Verified
		}
	}
}

// together makes the same call for several callers at once.
func together(n int, call func() outcome) []outcome {
	all := make([]outcome, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i] = call() })
	}
	wg.Wait()
	return all
}

// sound fails the test when anything that is cached is not what it should be.
func (w *world) sound() {
	w.t.Helper()
	err := w.service.Verify(w.t.Context(), func(int64, int64, int64) {}, func(cache, key, why string) {
		w.t.Errorf("cache %s holds %s, which is wrong: %s", cache, key, why)
	})
	if err != nil {
		w.t.Error(err)
	}
}

// mustRead reads a part of a file and holds it against what was pushed.
func (w *world) mustRead(path string, offset, length int64) outcome {
	w.t.Helper()
	got := w.read(path, offset, length)
	want := w.files[path][offset:]
	if length >= 0 {
		want = want[:length]
	}
	if got.err != nil || !bytes.Equal(got.data, want) {
		w.t.Fatalf("%s: %d bytes of %d, %v", path, len(got.data), len(want), got)
	}
	return got
}

// canary fails the test when a secret stands in a log line, a metric or the outcomes.
func (w *world) canary(secret string, outcomes ...outcome) {
	w.t.Helper()
	for _, o := range outcomes {
		if text := fmt.Sprintf("%v %+v", o.err, status.Convert(o.err).Proto()); strings.Contains(text, secret) {
			w.t.Errorf("the secret is in a status: %s", text)
		}
	}
	if strings.Contains(w.log.String(), secret) {
		w.t.Error("the secret is in the log")
	}
}
