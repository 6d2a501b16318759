package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/blobd/blobd/internal/fault"
)

// watch ends streams that can't end by themselves: those whose caller takes nothing any more, and, on shutdown, those of
// other services that last as long as their caller likes (health's Watch, reflection).
//
// gRPC offers no way to break a blocked send but for the handler to return, so the handler runs in a goroutine of its
// own, and the interceptor returns for it. gRPC then ends the stream's context, which breaks the send and the handler.
type watch struct {
	idle    time.Duration             // how long one send may block
	dropped func(ctx context.Context) // hears of each call whose send did
	gone    chan struct{}             // closed to end the streams of other services
	end     func()                    // closes gone
	running sync.WaitGroup            // handlers, abandoned ones too
}

func newWatch(idle time.Duration, dropped func(context.Context)) *watch {
	w := &watch{idle: idle, dropped: dropped, gone: make(chan struct{})}
	w.end = sync.OnceFunc(func() { close(w.gone) })
	return w
}

func (w *watch) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ws := newWatchedStream(ss, w.idle)
	done := make(chan error, 1)
	w.running.Go(func() { done <- next(srv, ws) })

	gone := w.gone
	if ours(info.FullMethod) {
		gone = nil // the gate waits for them
	}
	select {
	case err := <-done:
		return err
	case <-ws.stuck:
		w.dropped(ss.Context())
		return fault.New(readerIdle, "the reader took nothing for %s", w.idle).Try("read on from where it stopped")
	case <-gone:
		return fault.New(fault.ShuttingDown, "the daemon is shutting down")
	}
}

// watchedStream notices when one send blocks for too long.
type watchedStream struct {
	grpc.ServerStream
	idle  time.Duration
	stuck chan struct{} // closed when a send has blocked for idle
	timer *time.Timer   // runs while a send does
}

func newWatchedStream(ss grpc.ServerStream, idle time.Duration) *watchedStream {
	s := &watchedStream{ServerStream: ss, idle: idle, stuck: make(chan struct{})}
	s.timer = time.AfterFunc(idle, sync.OnceFunc(func() { close(s.stuck) }))
	s.timer.Stop()
	return s
}

func (s *watchedStream) SendMsg(m any) error {
	s.timer.Reset(s.idle)
	defer s.timer.Stop()
	return s.ServerStream.SendMsg(m)
}
