package client

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

const (
	// startTimeout bounds the wait for a daemon that does not listen yet. It covers a start (the socket is there in a
	// fraction of a second) without making "no daemon" slow to say.
	startTimeout = time.Second
	// queueTimeout bounds the wait for a daemon that listens but whose accept queue is full: it is there, and busy.
	queueTimeout = 10 * time.Second
	redialEvery  = 20 * time.Millisecond
	// greetTimeout bounds the wait for the daemon's first bytes on a connection that it has accepted. In a burst of
	// thousands on a busy host it takes many seconds; a context ends it sooner.
	greetTimeout = 30 * time.Second

	// streamWindow lets eight data messages of 1 MiB be under way, so that daemon and reader need not wait for each
	// other: 64 KiB, gRPC's own start, costs a round trip every 64 KiB.
	streamWindow = 8 << 20
	connWindow   = 32 << 20
	// readBuffer takes many 16 KiB frames from the socket in one system call.
	readBuffer = 256 << 10
	// maxMessage is well above the largest answer: a manifest of 4 MiB, data of 1 MiB.
	maxMessage = 16 << 20
)

// Client is a connection to a daemon. Close ends it and every call on it.
type Client struct {
	conn   *grpc.ClientConn
	dialer *dialer
	api    blobdv1.BlobdServiceClient
}

// Option changes how Dial connects.
type Option func(*dialer)

// WithSocket connects to the daemon at path alone. The empty path stands for the rule of Dial.
func WithSocket(path string) Option {
	return func(d *dialer) {
		if path != "" {
			d.paths = []string{path}
		}
	}
}

// WithStartTimeout changes how long Dial waits for a daemon that does not listen yet; 0 tries once. The default is a
// second.
func WithStartTimeout(timeout time.Duration) Option {
	return func(d *dialer) { d.startTimeout = timeout }
}

// WithStatsHandler has h hear of every call. It is how a program that traces passes its traces on, with the handler of
// OpenTelemetry:
//
//	client.Dial(ctx, client.WithStatsHandler(otelgrpc.NewClientHandler()))
//
// An Archive makes its calls in the context of its WithContext.
func WithStatsHandler(h stats.Handler) Option {
	return func(d *dialer) { d.stats = append(d.stats, grpc.WithStatsHandler(h)) }
}

// Dial connects to the host's daemon: at $BLOBD_SOCKET when it is set, else to the user's own or else to the host's. The
// connection stands when Dial returns; it is made anew when the daemon restarts.
func Dial(ctx context.Context, opts ...Option) (*Client, error) {
	d := &dialer{paths: sockets(), startTimeout: startTimeout}
	for _, o := range opts {
		o(d)
	}
	first, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	d.first = first
	// A lost connection is made anew well before the second that gRPC would wait: the daemon is on this host, and its
	// restart takes a fraction of that.
	redial := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}
	conn, err := grpc.NewClient("passthrough:///blobd", append(d.stats,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.next(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: greetTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.ForceCodecV2(wire.Codec())),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // the interceptors know when another try makes sense
		grpc.WithUnaryInterceptor(d.unary),
		grpc.WithStreamInterceptor(d.stream),
	)...)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	conn.Connect()
	return &Client{conn: conn, dialer: d, api: blobdv1.NewBlobdServiceClient(conn)}, nil
}

// Close ends the connection. Calls and streams under way fail.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.dialer.mu.Lock()
	defer c.dialer.mu.Unlock()
	if c.dialer.first != nil {
		err = errors.Join(err, c.dialer.first.Close())
		c.dialer.first = nil
	}
	return err
}

// Conn is the gRPC connection beneath, for services that this package does not wrap (health, reflection). Its calls are
// retried as all others are, and fail with *Error.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Admin is the admin service, open to root, the daemon's user and those in its config. Its calls fail with *Error.
func (c *Client) Admin() blobdv1.AdminServiceClient { return blobdv1.NewAdminServiceClient(c.conn) }

// dialer connects to the first of its paths where a daemon listens.
type dialer struct {
	paths        []string
	startTimeout time.Duration
	stats        []grpc.DialOption

	mu     sync.Mutex // guards what follows
	first  net.Conn   // what Dial connected, until gRPC asks for it
	failed error      // why the last attempt to connect anew failed; nil once one succeeded
}

// next hands out the connection that Dial made, and after that new ones. gRPC itself waits between attempts, so none of
// them waits for a start.
func (d *dialer) next(ctx context.Context) (net.Conn, error) {
	d.mu.Lock()
	conn := d.first
	d.first = nil
	d.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	conn, err := d.try(ctx)
	d.mu.Lock()
	d.failed = err
	d.mu.Unlock()
	return conn, err
}

// lost says why the connection is gone.
func (d *dialer) lost() *Error {
	d.mu.Lock()
	err := d.failed
	d.mu.Unlock()
	if err == nil {
		err = errors.New("the connection was lost")
	}
	return d.unreachable(err)
}

// dial tries until a daemon answers, startTimeout is over, or none is allowed to us.
func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	deadline := time.Now().Add(d.startTimeout)
	for {
		conn, err := d.try(ctx)
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, fromContext(ctx.Err())
		case errors.Is(err, fs.ErrPermission) || !time.Now().Before(deadline):
			return nil, d.unreachable(err)
		}
		if err := sleep(ctx, redialEvery); err != nil {
			return nil, err
		}
	}
}

// try goes through the paths once. Being denied outranks finding nobody.
func (d *dialer) try(ctx context.Context) (net.Conn, error) {
	var failed error
	for _, path := range d.paths {
		conn, err := connect(ctx, path)
		if err == nil {
			return conn, nil
		}
		if failed == nil || errors.Is(err, fs.ErrPermission) {
			failed = err
		}
	}
	return nil, failed
}

// connect waits while the accept queue at path is full, which a Unix socket tells by EAGAIN.
func connect(ctx context.Context, path string) (net.Conn, error) {
	var nd net.Dialer
	deadline := time.Now().Add(queueTimeout)
	for {
		conn, err := nd.DialContext(ctx, "unix", path)
		if err == nil || !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return conn, err
		}
		if err := sleep(ctx, redialEvery); err != nil {
			return nil, err
		}
	}
}

// unreachable says why no path could be connected to, and what to do.
func (d *dialer) unreachable(err error) *Error {
	where := strings.Join(d.paths, " or ")
	if errors.Is(err, fs.ErrPermission) {
		return &Error{
			Code: codes.PermissionDenied, Reason: SocketDenied,
			Message: "no right to open the daemon's socket " + where + ": permission denied",
			Remedy:  "join the socket's group, or start a daemon of your own with `blobd serve`",
		}
	}
	why := err
	if op, ok := errors.AsType[*net.OpError](err); ok {
		why = op.Err
	}
	if sys, ok := errors.AsType[syscall.Errno](why); ok {
		why = sys
	}
	return &Error{
		Code: codes.Unavailable, Reason: DaemonUnreachable,
		Message: "no daemon at " + where + ": " + why.Error(),
		Remedy:  "start one with `blobd serve`, or name its socket with --socket or $" + SocketEnv,
	}
}

// sleep waits for d, or fails with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fromContext(ctx.Err())
	case <-t.C:
		return nil
	}
}
