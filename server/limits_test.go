package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/server"
)

// stuck is the most that anything in these tests may take on a busy machine.
const stuck = 30 * time.Second

// counts is an observer.
type counts struct{ all, open, refused atomic.Int64 }

func (c *counts) ConnectionOpened()  { c.open.Add(1); c.all.Add(1) }
func (c *counts) ConnectionClosed()  { c.open.Add(-1) }
func (c *counts) ConnectionRefused() { c.refused.Add(1) }

// eventually waits until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(stuck)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not in %v: %s", stuck, what)
		}
	}
}

// wantRefused holds an answer against the contract of refusals: code, reason, RetryInfo, and the key that sets the limit.
func wantRefused(t *testing.T, what string, err error, says ...string) {
	t.Helper()
	wantStatus(t, what, err, codes.ResourceExhausted, fault.LocalOverload)
	info, retry := detailsOf(err)
	if retry.GetRetryDelay().AsDuration() <= 0 {
		t.Errorf("%s: no RetryInfo", what)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %v, does not say %q", what, err, s)
		}
	}
	if info.GetMetadata()["remedy"] == "" {
		t.Errorf("%s: no remedy", what)
	}
}

func pull(t *testing.T, conn *grpc.ClientConn) error {
	_, err := blobdv1.NewBlobdServiceClient(conn).Pull(t.Context(), &blobdv1.PullRequest{})
	return err
}

// connections opens n connections to r with a call on each, which must be served.
func connections(t *testing.T, r *running, n int) []*grpc.ClientConn {
	t.Helper()
	var conns []*grpc.ClientConn
	for range n {
		conn := dial(t, "unix:"+r.socket)
		t.Cleanup(func() { _ = conn.Close() })
		if err := pull(t, conn); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return conns
}

func TestTooManyConnections(t *testing.T) {
	cases := []struct {
		name   string
		limits server.Limits
		says   []string
	}{
		{"of one user", server.Limits{ConnectionsPerUser: 3}, []string{"3 connections", "max_connections_per_user"}},
		{"of all", server.Limits{ConnectionsPerUser: 10, Connections: 3}, []string{"3 connections", "limit of open files"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := new(counts)
			r := start(t, newDomain(t, nil), func(o *server.Options) { o.Limits, o.Observer = c.limits, seen })
			served := connections(t, r, 3)
			extra := dial(t, "unix:"+r.socket)
			defer extra.Close()
			wantRefused(t, "a call on one connection more", pull(t, extra), c.says...)
			watch, err := grpc_health_v1.NewHealthClient(extra).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err == nil {
				_, err = watch.Recv()
			}
			wantRefused(t, "a stream on it", err, c.says...)
			if m, err := grpc_health_v1.NewHealthClient(extra).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil ||
				m.Status != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("a probe on it: %v, %v", m, err)
			}
			for _, conn := range served {
				if err := pull(t, conn); err != nil {
					t.Errorf("a connection within the limit: %v", err)
				}
			}
			if open := seen.open.Load(); open != 3 || seen.refused.Load() == 0 {
				t.Errorf("the observer saw %d open, %d refused", open, seen.refused.Load())
			}
			// What was refused is closed by itself, and who comes again when there is room is served.
			served[0].Close()
			eventually(t, "the refused caller is served", func() bool { return pull(t, extra) == nil })
		})
	}
}

// However many connections are over the limit, few are kept; and those within it go on.
func TestFloodOfConnections(t *testing.T) {
	seen := new(counts)
	r := start(t, newDomain(t, nil), func(o *server.Options) {
		o.Limits, o.Observer = server.Limits{ConnectionsPerUser: 1}, seen
	})
	within := connections(t, r, 1)[0]
	const flood, kept = 300, 100
	gone := make(chan struct{}, flood)
	for range flood {
		conn, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(io.Discard, conn) // until it is closed at the other end
			gone <- struct{}{}
		}()
	}
	for range flood - kept {
		<-gone
	}
	if err := pull(t, within); err != nil {
		t.Errorf("a connection within the limit: %v", err)
	}
	for range kept { // those that waited for a call
		<-gone
	}
	if n := seen.refused.Load(); n != flood {
		t.Errorf("%d refused, want %d", n, flood)
	}
	if n := seen.open.Load(); n != 1 {
		t.Errorf("%d open, want 1", n)
	}
}

// Connections end in many ways; each gives back what it took.
func TestConnectionsAreGivenBack(t *testing.T) {
	const limit = 4
	seen := new(counts)
	r := start(t, newDomain(t, nil), func(o *server.Options) {
		o.Limits, o.Observer = server.Limits{ConnectionsPerUser: limit}, seen
	})
	all := int64(0)
	for name, leave := range map[string]func(conn net.Conn){
		"silent":       func(net.Conn) {},
		"half a hello": func(conn net.Conn) { _, _ = io.WriteString(conn, "PRI * HTT") },
		"no HTTP/2":    func(conn net.Conn) { _, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
		"a hello alone": func(conn net.Conn) {
			_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		},
	} {
		for range limit {
			conn, err := net.Dial("unix", r.socket)
			if err != nil {
				t.Fatal(err)
			}
			leave(conn)
			conn.Close()
			all++
		}
		eventually(t, name+": all are back", func() bool { return seen.all.Load() == all && seen.open.Load() == 0 })
	}
	connections(t, r, limit)
	if n := seen.refused.Load(); n != 0 {
		t.Errorf("%d refused", n)
	}
}

// Users who can't be told apart share one limit.
func TestUnknownUsersShare(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := startOn(t, newDomain(t, nil), l, l.Addr().String(), func(o *server.Options) { o.Limits.ConnectionsPerUser = 1 })
	if err := pull(t, r.conn); err != nil {
		t.Fatal(err)
	}
	other := dial(t, l.Addr().String())
	defer other.Close()
	wantRefused(t, "a second unknown user", pull(t, other), "users whom the daemon can't tell apart")
}

// holding is a server with calls that wait for release.
func holding(t *testing.T, limits server.Limits) (r *running, begin func() (grpc.ServerStreamingClient[blobdv1.ReadFileResponse], error), release func()) {
	d := newDomain(t, map[string][]byte{"f": noise(1000)})
	released := make(chan struct{})
	d.read = func(ctx context.Context, f *memFile, p []byte) (int, error) {
		select {
		case <-released:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		return f.fill(p)
	}
	r = start(t, d, func(o *server.Options) { o.Limits = limits })
	begin = func() (grpc.ServerStreamingClient[blobdv1.ReadFileResponse], error) {
		s, err := r.ReadFile(t.Context(), &blobdv1.ReadFileRequest{Path: "f"})
		if err == nil {
			_, err = s.Recv()
		}
		return s, err
	}
	return r, begin, func() { close(released) }
}

func TestTooManyCalls(t *testing.T) {
	const limit = 3
	r, begin, release := holding(t, server.Limits{CallsPerUser: limit})
	var open []grpc.ServerStreamingClient[blobdv1.ReadFileResponse]
	for range limit {
		s, err := begin()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	for range 20 { // refusals are given back too
		_, err := begin()
		wantRefused(t, "one stream more", err, "3 calls", "max_calls_per_user")
		wantRefused(t, "a call of one answer", pull(t, r.conn), "3 calls", "max_calls_per_user")
	}
	if m, err := grpc_health_v1.NewHealthClient(r.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil ||
		m.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("a probe: %v, %v", m, err)
	}
	r.server.SetLimits(server.Limits{CallsPerUser: limit + 1})
	if err := pull(t, r.conn); err != nil {
		t.Errorf("at a higher limit: %v", err)
	}
	r.server.SetLimits(server.Limits{CallsPerUser: limit})
	release()
	for _, s := range open {
		var err error
		for err == nil {
			_, err = s.Recv()
		}
		if err != io.EOF {
			t.Errorf("a call within the limit: %v", err)
		}
	}
	eventually(t, "calls are served again", func() bool { return pull(t, r.conn) == nil })
}

// A call counts from its first frame: callers who never send a request can't hold more than others, and who goes on
// beyond all measure loses his connection.
func TestCallsWithoutRequest(t *testing.T) {
	const limit = 2
	r := start(t, newDomain(t, nil), func(o *server.Options) { o.Limits.CallsPerUser = limit })
	mute := dial(t, "unix:"+r.socket)
	defer mute.Close()
	var streams []grpc.ClientStream
	for range limit {
		s, err := mute.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, blobdv1.BlobdService_Pull_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	eventually(t, "calls are refused", func() bool { return errors.Is(reasonError(pull(t, r.conn)), fault.LocalOverload) })
	for {
		s, err := mute.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, blobdv1.BlobdService_Pull_FullMethodName)
		if err != nil {
			break // the connection is gone
		}
		if streams = append(streams, s); len(streams) > 100 {
			t.Fatal("a connection that only opens calls is kept")
		}
		if status.Code(pull(t, mute)) == codes.Unavailable {
			break
		}
	}
	for _, s := range streams {
		if err := s.RecvMsg(new(blobdv1.PullResponse)); status.Code(err) != codes.Unavailable {
			t.Errorf("a call of the connection that was closed: %v", err)
		}
	}
	eventually(t, "others are served", func() bool { return pull(t, r.conn) == nil })
}

// reasonError is the reason that a status carries.
func reasonError(err error) error {
	info, _ := detailsOf(err)
	return fault.Reason(info.GetReason())
}

// Calls whose callers vanish are given back.
func TestCallsAreGivenBack(t *testing.T) {
	const limit = 5
	r, _, release := holding(t, server.Limits{CallsPerUser: limit})
	defer release()
	for range 3 {
		conn := dial(t, "unix:"+r.socket)
		for range limit {
			s, err := blobdv1.NewBlobdServiceClient(conn).ReadFile(t.Context(), &blobdv1.ReadFileRequest{Path: "f"})
			if err == nil {
				_, err = s.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
		eventually(t, "calls are served again", func() bool { return pull(t, r.conn) == nil })
	}
}

// What was on its way to readers who were dropped stays until they take it or go: it is kept for some of them, and the
// connection of who has more is closed.
func TestDroppedReaders(t *testing.T) {
	const kept = 256
	seen := new(counts)
	d := newDomain(t, map[string][]byte{"f": noise(1 << 20)})
	r := start(t, d, func(o *server.Options) { o.IdleTimeout, o.Observer = 20*time.Millisecond, seen })
	abandon := func(conn *grpc.ClientConn, n int) {
		for range n {
			if _, err := blobdv1.NewBlobdServiceClient(conn).ReadFile(t.Context(), &blobdv1.ReadFileRequest{Path: "f"}); err != nil {
				return // the connection is gone
			}
		}
	}
	first, second := dial(t, "unix:"+r.socket, smallWindows()...), dial(t, "unix:"+r.socket, smallWindows()...)
	defer first.Close()
	defer second.Close()
	abandon(first, kept/2)
	if err := pull(t, first); err != nil {
		t.Fatal(err)
	}
	abandon(second, kept)
	eventually(t, "the connection of who has too many is closed", func() bool { return seen.open.Load() < seen.all.Load() })
	first.Close()
	second.Close()
	eventually(t, "all are gone", func() bool { return seen.open.Load() == 0 })
	// What they held is given back.
	third := dial(t, "unix:"+r.socket, smallWindows()...)
	defer third.Close()
	abandon(third, kept/2)
	if err := pull(t, third); err != nil || seen.open.Load() != 1 {
		t.Errorf("a new connection: %v, %d open", err, seen.open.Load())
	}
}
