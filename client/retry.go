package client

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

const (
	// maxTries: with the waits below, a daemon has over a second to start or to be replaced.
	maxTries = 4
	// firstDelay doubles with each try where the daemon names no delay of its own.
	firstDelay = 200 * time.Millisecond
	// maxDelay bounds the delay that a daemon may ask for: a person waits.
	maxDelay = 5 * time.Second
)

// again reports whether a call that failed with err can be made once more, and waits until it may be: the daemon refused
// it because it comes or goes, or the connection broke before an answer. Every call of the contract may be repeated.
func (d *dialer) again(ctx context.Context, try int, err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != codes.Unavailable || try >= maxTries {
		return false
	}
	switch e.Reason {
	case DaemonUnreachable, "STARTING", "SHUTTING_DOWN":
	default:
		return false // the registry's trouble: the daemon itself has tried again
	}
	delay := firstDelay << (try - 1)
	if e.RetryAfter > 0 {
		delay = e.RetryAfter
	}
	return sleep(ctx, min(delay, maxDelay)) == nil
}

// unary turns errors into *Error and tries again.
func (d *dialer) unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	for try := 1; ; try++ {
		err := fromStatus(invoke(ctx, method, req, reply, cc, opts...), d.lost)
		if err == nil || !d.again(ctx, try, err) {
			return err
		}
	}
}

// stream does the same for streams of answers to one request.
func (d *dialer) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer,
	opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s := &answers{dialer: d, ctx: ctx}
	s.open = func() (err error) {
		s.ClientStream, err = open(ctx, desc, cc, method, opts...)
		return err
	}
	for try := 1; ; try++ {
		err := fromStatus(s.open(), d.lost)
		if err == nil || desc.ClientStreams {
			return s, err
		}
		if !d.again(ctx, try, err) {
			return nil, err
		}
	}
}

// answers is a stream of answers to one request. Until the first of them has arrived it can be opened anew.
type answers struct {
	grpc.ClientStream
	dialer  *dialer
	ctx     context.Context
	open    func() error
	request any
	begun   bool
}

func (s *answers) SendMsg(m any) error {
	s.request = m
	err := s.ClientStream.SendMsg(m)
	if err == io.EOF {
		return nil // the stream has ended already: RecvMsg knows why
	}
	return fromStatus(err, s.dialer.lost)
}

func (s *answers) RecvMsg(m any) error {
	err := fromStatus(s.ClientStream.RecvMsg(m), s.dialer.lost)
	for try := 1; !s.begun && err != nil && s.request != nil && s.dialer.again(s.ctx, try, err); try++ {
		err = fromStatus(s.reopen(m), s.dialer.lost)
	}
	s.begun = s.begun || err == nil
	return err
}

// reopen asks once more and takes the first answer.
func (s *answers) reopen(m any) error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.ClientStream.SendMsg(s.request); err != nil && err != io.EOF {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.ClientStream.RecvMsg(m)
}
