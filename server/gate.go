package server

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
)

// gate counts the calls of our own services and, once it is closed, lets no more in. Other services (health,
// reflection) pass at all times: they are how a caller learns that the daemon is going.
type gate struct {
	mu     sync.Mutex // guards closed and calls
	closed bool
	calls  int
	empty  chan struct{} // closed when the gate is closed and the last call has left
}

func newGate() *gate { return &gate{empty: make(chan struct{})} }

// enter lets one call in, or says why not. Who was let in must leave.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fault.New(fault.ShuttingDown, "the daemon is shutting down").Try("try again once it is back")
	}
	g.calls++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if g.closed && g.calls == 0 {
		close(g.empty)
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
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	return next(ctx, req)
}

func (g *gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !ours(info.FullMethod) {
		return next(srv, ss)
	}
	if err := g.enter(); err != nil {
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
