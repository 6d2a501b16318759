package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// network is an internet in memory: names, public addresses, servers, and what can go wrong before a server is reached.
// Nothing in it uses a socket, so that time is virtual in a synctest bubble.
type network struct {
	mu    sync.Mutex // guards what follows
	sites map[string]*site
}

// site is one server.
type site struct {
	address  string // the IP address and port that its name stands for
	listener *listener
	server   *http.Server

	mu    sync.Mutex // guards what follows
	fail  func(ctx context.Context, d *net.Dialer) error
	tried int // in vain
}

func newNetwork() *network {
	return &network{sites: map[string]*site{}}
}

// serve puts h on the network as name:port; config is nil for plain HTTP. The address has to be given where it matters.
func (n *network) serve(t *testing.T, hostport, address string, h http.Handler, config *tls.Config) *site {
	t.Helper()
	n.mu.Lock()
	if address == "" {
		address = fmt.Sprintf("198.51.100.%d:443", len(n.sites)+1)
	}
	s := &site{address: address, listener: newListener(), server: &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}}
	n.sites[hostport] = s
	n.mu.Unlock()
	var l net.Listener = s.listener
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.server.Serve(l) })
	t.Cleanup(func() {
		_ = s.server.Close()
		serving.Wait()
	})
	return s
}

// breaks makes every dial fail by f from now on; nil mends that. Connections stay.
func (s *site) breaks(f func(ctx context.Context, d *net.Dialer) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// hangUp closes the connections that are idle.
func (s *site) hangUp() {
	s.server.SetKeepAlivesEnabled(false)
	s.server.SetKeepAlivesEnabled(true)
}

func (n *network) dial(d *net.Dialer, ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	s := n.sites[addr]
	n.mu.Unlock()
	if s == nil {
		return nil, dialError(&net.DNSError{Err: "no such host", Name: addr, IsNotFound: true})
	}
	s.mu.Lock()
	fail := s.fail
	if fail != nil {
		s.tried++
	}
	s.mu.Unlock()
	if fail != nil {
		return nil, dialError(fail(ctx, d))
	}
	if err := d.ControlContext(ctx, "tcp4", s.address, nil); err != nil {
		return nil, dialError(err)
	}
	return s.listener.dial(ctx)
}

// triedInVain is how many connections were refused since the start.
func (s *site) triedInVain() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tried
}

func dialError(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }

func refuses(context.Context, *net.Dialer) error { return syscall.ECONNREFUSED }

func resolverDown(context.Context, *net.Dialer) error {
	return &net.DNSError{Err: "server misbehaving", Name: "registry.test", IsTemporary: true}
}

func unknownName(context.Context, *net.Dialer) error {
	return &net.DNSError{Err: "no such host", Name: "registry.test", IsNotFound: true}
}

// untrusted is a connection that comes about, to somebody who can't prove to be the registry.
func untrusted(context.Context, *net.Dialer) error {
	time.Sleep(latency) // no breaker opens, and all three callers are to wait for the same attempt
	return &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
}

// swallows is a network that drops every packet.
func swallows(ctx context.Context, d *net.Dialer) error {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	<-ctx.Done()
	return syscall.ETIMEDOUT
}

// pipe makes the two ends of a connection.
func pipe() (client, server net.Conn) {
	c, s := net.Pipe()
	reset := new(atomic.Bool)
	return &conn{c, reset}, &conn{s, reset}
}

// conn has a SetLinger like TCP's: a close after SetLinger(0) is a reset.
type conn struct {
	net.Conn
	reset *atomic.Bool
}

func (c *conn) SetLinger(sec int) error {
	c.reset.Store(sec == 0)
	return nil
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF && c.reset.Load() {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return n, err
}

// listener hands out what is connected to it.
type listener struct {
	conns chan net.Conn
	close func()
	done  chan struct{}
}

func newListener() *listener {
	l := &listener{conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.close()
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Net: "memory", Name: "memory"} }

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	client, server := pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, dialError(syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, dialError(ctx.Err())
	}
}
