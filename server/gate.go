package server

import (
	"context"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
)

// startWait is how long a call waits for a server that is not ready yet. A start takes a fraction of it unless the disk is
// slow, so callers hardly ever hear of one; longer waits are theirs to decide about.
const startWait = time.Second

// gate counts the calls of our own services. It lets none in before it is opened, nor once it is closed. Other services
// (health, reflection) pass at all times: they are how a caller learns that the daemon is coming or going.
type gate struct {
	mu     sync.Mutex // guards opened, closed and calls
	opened bool
	closed bool
	calls  int
	begun  chan struct{} // closed when the gate is opened, or closed before it was
	empty  chan struct{} // closed when the gate is closed and the last call has left
	// closing is closed with the gate: calls that last as long as their caller likes end then.
	closing chan struct{}
}

func newGate() *gate {
	return &gate{begun: make(chan struct{}), empty: make(chan struct{}), closing: make(chan struct{})}
}

// enter lets one call in, or says why not. Who was let in must leave.
func (g *gate) enter(ctx context.Context) error {
	if err := g.wait(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fault.New(fault.ShuttingDown, "the daemon is shutting down").Try("try again once it is back")
	}
	g.calls++
	return nil
}

// wait returns when the gate has been opened or closed.
func (g *gate) wait(ctx context.Context) error {
	select {
	case <-g.begun:
		return nil
	default:
	}
	limit := time.NewTimer(startWait)
	defer limit.Stop()
	select {
	case <-g.begun:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		return fault.New(fault.Starting, "the daemon is starting: it opens its cache").Try("try again in a moment")
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if g.closed && g.calls == 0 {
		close(g.empty)
	}
}

// open lets calls in, unless the gate was closed. It is called once.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = true
	if !g.closed {
		close(g.begun)
	}
}

// close lets no more calls in. A second call does nothing.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	close(g.closing)
	if !g.opened {
		close(g.begun)
	}
	if g.calls == 0 {
		close(g.empty)
	}
}

// inside is how many calls have entered and not left.
func (g *gate) inside() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls
}

func (g *gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !ours(info.FullMethod) {
		return next(ctx, req)
	}
	if err := g.enter(ctx); err != nil {
		return nil, err
	}
	defer g.leave()
	return next(ctx, req)
}

func (g *gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !ours(info.FullMethod) {
		return next(srv, ss)
	}
	if err := g.enter(ss.Context()); err != nil {
		return err
	}
	defer g.leave()
	return next(srv, ss)
}

// serviceOf returns the service of a full method name, "/service/method".
func serviceOf(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service
}

// ours reports whether a method belongs to a service of the contract, not to health or reflection.
func ours(method string) bool {
	switch serviceOf(method) {
	case blobdv1.BlobdService_ServiceDesc.ServiceName, blobdv1.AdminService_ServiceDesc.ServiceName:
		return true
	}
	return false
}
