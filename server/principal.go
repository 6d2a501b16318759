package server

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/blobd/blobd/access"
)

// peerConn is a connection with what is known of it since it was accepted.
type peerConn struct {
	net.Conn
	principal access.Principal
	refusal   error           // what its calls are answered, when it is one too many
	gone      context.Context // ends when it is closed
	end       context.CancelFunc
}

func newPeerConn(conn net.Conn, p access.Principal, refusal error) *peerConn {
	c := &peerConn{Conn: conn, principal: p, refusal: refusal}
	c.gone, c.end = context.WithCancel(context.Background())
	return c
}

// Close closes the connection. A second call changes nothing.
func (c *peerConn) Close() error {
	defer c.end()
	return c.Conn.Close()
}

// peerListener asks the operating system, when a connection is accepted, who is at its other end, and lets the limits
// decide about it.
type peerListener struct {
	net.Listener
	limits *limits
}

func (l peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.limits.admitConnection(conn); c != nil {
			return c, nil
		}
	}
}

// peerCredentials are transport credentials that hand on to calls what the peerListener knows. Nothing is exchanged on
// the wire, so that any client fits.
type peerCredentials struct{}

// authInfo carries a connection to its calls.
type authInfo struct {
	credentials.CommonAuthInfo
	conn *peerConn
}

func (authInfo) AuthType() string { return "peer" }

func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := conn.(*peerConn)
	if !ok {
		return nil, nil, errors.New("the connection was not accepted by a peerListener")
	}
	local := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity} // bytes don't leave the kernel
	return conn, authInfo{CommonAuthInfo: local, conn: c}, nil
}

func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are a server's")
}

func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peer"}
}

func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func (peerCredentials) OverrideServerName(string) error { return nil }

// connOf is the connection that a call came on; every call of a Server has one.
func connOf(ctx context.Context) *peerConn {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(authInfo); ok {
			return info.conn
		}
	}
	return &peerConn{}
}

// principalOf returns who makes the call.
func principalOf(ctx context.Context) access.Principal { return connOf(ctx).principal }
