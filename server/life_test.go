package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/server"
)

// smallWindows keep a client from taking more than some KiB on its own.
func smallWindows() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithStaticStreamWindowSize(64 << 10), grpc.WithStaticConnWindowSize(1 << 20)}
}

// A caller that stops reading is dropped, the domain hears of it, and other calls, on its own connection too, go on.
func TestIdleReaderIsDropped(t *testing.T) {
	closed := make(chan struct{})
	d := newDomain(t, map[string][]byte{"f": noise(8 << 20), "g": noise(300 << 10)})
	d.closed = func(f *memFile) {
		if f.entry.Path == "f" {
			close(closed)
		}
	}
	r := start(t, d, func(o *server.Options) { o.IdleTimeout = 50 * time.Millisecond })
	conn := dial(t, "unix:"+r.socket, smallWindows()...)
	defer conn.Close()
	c := blobdv1.NewBlobdServiceClient(conn)

	stream, err := c.ReadFile(t.Context(), &blobdv1.ReadFileRequest{Path: "f"})
	if err != nil {
		t.Fatal(err)
	}
	<-closed
	for range 3 {
		if g, err := readPlain(t.Context(), c, &blobdv1.ReadFileRequest{Path: "g"}); err != nil || len(g.data) != 300<<10 {
			t.Errorf("another call: %d bytes, %v", len(g.data), err)
		}
	}
	for err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, "the idle reader", err, codes.Aborted, "READER_IDLE")
}

// A slow upstream is not an idle reader.
func TestWaitingForBytesIsNotIdle(t *testing.T) {
	const idle = 20 * time.Millisecond
	d := newDomain(t, map[string][]byte{"f": []byte("x")})
	d.read = func(ctx context.Context, f *memFile, p []byte) (int, error) {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * idle):
			return f.fill(p)
		}
	}
	r := start(t, d, func(o *server.Options) { o.IdleTimeout = idle })
	if g, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"}); err != nil || string(g.data) != "x" {
		t.Errorf("%q, %v", g.data, err)
	}
}

// held is a call that has begun and waits for release.
type held struct {
	stream  grpc.ServerStreamingClient[blobdv1.ReadFileResponse]
	release chan struct{}
	data    []byte
}

func hold(t *testing.T) (*running, *held) {
	t.Helper()
	h := &held{release: make(chan struct{}), data: noise(3 << 20)}
	d := newDomain(t, map[string][]byte{"f": h.data})
	d.read = func(ctx context.Context, f *memFile, p []byte) (int, error) {
		select {
		case <-h.release:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		return f.fill(p)
	}
	r := start(t, d, nil)
	var err error
	if h.stream, err = r.ReadFile(t.Context(), &blobdv1.ReadFileRequest{Path: "f"}); err != nil {
		t.Fatal(err)
	}
	if _, err = h.stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return r, h
}

// shutdown begins one and returns once health has told of it.
func shutdown(t *testing.T, ctx context.Context, r *running) (done chan error, watch grpc_health_v1.Health_WatchClient) {
	t.Helper()
	watch, err := grpc_health_v1.NewHealthClient(r.conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watch.Recv(); err != nil || m.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatal(m, err)
	}
	done = make(chan error, 1)
	go func() { done <- r.server.Shutdown(ctx) }()
	if m, err := watch.Recv(); err != nil || m.Status != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Fatal(m, err)
	}
	return done, watch
}

func TestShutdownLetsCallsEnd(t *testing.T) {
	r, h := hold(t)
	reflect, err := grpc_reflection_v1.NewServerReflectionClient(r.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done, watch := shutdown(t, t.Context(), r)

	// New calls are refused by those connections that are there and by new ones. The gate closes just after health
	// tells, so the first tries may still pass.
	fresh := dial(t, "unix:"+r.socket)
	defer fresh.Close()
	for _, c := range []blobdv1.BlobdServiceClient{r, blobdv1.NewBlobdServiceClient(fresh)} {
		for err = nil; err == nil; {
			_, err = c.Pull(t.Context(), &blobdv1.PullRequest{})
		}
		wantStatus(t, "a new call", err, codes.Unavailable, fault.ShuttingDown)
		if _, retry := detailsOf(err); retry.GetRetryDelay().AsDuration() <= 0 {
			t.Error("a new call: no RetryInfo")
		}
	}

	select {
	case err := <-done:
		t.Fatal("Shutdown ended before the call:", err)
	default:
	}
	close(h.release)
	var data []byte
	var m *blobdv1.ReadFileResponse
	for err = nil; err == nil; {
		if m, err = h.stream.Recv(); err == nil {
			data = append(data, m.Data...)
		}
	}
	if err != io.EOF || !bytes.Equal(data, h.data) {
		t.Errorf("the call under way: %d bytes, %v", len(data), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := watch.Recv(); err == nil {
		t.Error("health's stream goes on")
	}
	if _, err := reflect.Recv(); err == nil {
		t.Error("reflection's stream goes on")
	}
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Error("a second Shutdown:", err)
	}
}

func TestShutdownCutsWhatLastsTooLong(t *testing.T) {
	r, h := hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	done, _ := shutdown(t, ctx, r)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v, want that a call was cut", err)
	}
	if _, err := h.stream.Recv(); err == nil || err == io.EOF {
		t.Errorf("the call under way: %v, want an error", err)
	}
}

// A caller that does not read can't hold up a shutdown beyond its context.
func TestShutdownWithAStuckReader(t *testing.T) {
	d := newDomain(t, map[string][]byte{"f": noise(8 << 20)})
	r := start(t, d, nil)
	conn := dial(t, "unix:"+r.socket, smallWindows()...)
	defer conn.Close()
	stream, err := blobdv1.NewBlobdServiceClient(conn).ReadFile(t.Context(), &blobdv1.ReadFileRequest{Path: "f"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if err == io.EOF {
		t.Error("a call that was cut ended in OK")
	}
}

func TestHealth(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	h := grpc_health_v1.NewHealthClient(r.conn)
	for _, service := range []string{"", "blobd.v1.BlobdService", "blobd.v1.AdminService"} {
		m, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || m.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, m, err)
		}
	}
}

func TestReflection(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	stream, err := grpc_reflection_v1.NewServerReflectionClient(r.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{
			FileContainingSymbol: "blobd.v1.BlobdService.ReadFile",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || len(m.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("%v, %v", m, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

func TestRequestTooLarge(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	_, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: string(bytes.Repeat([]byte("x"), 65<<10))})
	if status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
	if _, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: string(bytes.Repeat([]byte("x"), 60<<10))}); err != nil {
		t.Error(err)
	}
}

// A server that has nothing to serve yet says so, to callers and probes, until it is ready.
func TestStarting(t *testing.T) {
	d := newDomain(t, map[string][]byte{"f": []byte("x")})
	r := start(t, d, func(o *server.Options) { o.Reader, o.Admin = nil, nil })
	health := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "blobd.v1.BlobdService", "blobd.v1.AdminService"} {
			m, err := grpc_health_v1.NewHealthClient(r.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil || m.Status != want {
				t.Errorf("health of %q: %v, %v, want %s", service, m, err, want)
			}
		}
	}
	var calls sync.WaitGroup
	for what, call := range map[string]func() error{
		"Pull":     func() error { return pull(t, r.conn) },
		"ReadFile": func() error { _, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"}); return err },
		"Status":   func() error { _, err := r.admin.Status(t.Context(), &blobdv1.StatusRequest{}); return err },
	} {
		calls.Go(func() {
			err := call()
			wantStatus(t, what, err, codes.Unavailable, fault.Starting)
			if _, retry := detailsOf(err); retry.GetRetryDelay().AsDuration() <= 0 {
				t.Errorf("%s: no RetryInfo", what)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.Pull(ctx, &blobdv1.PullRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a caller's own deadline while it waits: %v", err)
	}
	calls.Wait()
	health(grpc_health_v1.HealthCheckResponse_NOT_SERVING)

	r.server.Ready(d, d)
	if g, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"}); err != nil || string(g.data) != "x" {
		t.Errorf("once ready: %q, %v", g.data, err)
	}
	health(grpc_health_v1.HealthCheckResponse_SERVING)
}

// Who calls a moment too early does not notice.
func TestCallsWaitForTheStart(t *testing.T) {
	d := newDomain(t, map[string][]byte{"f": []byte("x")})
	r := start(t, d, func(o *server.Options) { o.Reader, o.Admin = nil, nil })
	if _, err := grpc_health_v1.NewHealthClient(r.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err) // the connection stands: the call below goes out at once
	}
	time.AfterFunc(20*time.Millisecond, func() { r.server.Ready(d, d) })
	if g, err := readPlain(t.Context(), r, &blobdv1.ReadFileRequest{Path: "f"}); err != nil || string(g.data) != "x" {
		t.Errorf("%q, %v", g.data, err)
	}
}

// A server that is stopped before it was ready ends, and stays closed when it would be ready at last.
func TestShutdownWhileStarting(t *testing.T) {
	d := newDomain(t, nil)
	r := start(t, d, func(o *server.Options) { o.Reader, o.Admin = nil, nil })
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	r.server.Ready(d, d)
	if _, err := r.Pull(t.Context(), &blobdv1.PullRequest{}); err == nil {
		t.Error("a call was let in after Shutdown")
	}
}
