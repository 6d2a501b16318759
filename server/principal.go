package server

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/blobd/blobd/access"
)

// peerCredentials are transport credentials that ask the operating system, when a connection is accepted, who is at its
// other end. Nothing is exchanged on the wire, so that any client fits. A connection whose peer can't be told is kept,
// as the unknown principal: it may read, as all who may open the socket.
type peerCredentials struct{}

// authInfo carries the principal of a connection to its calls.
type authInfo struct {
	credentials.CommonAuthInfo
	principal access.Principal
}

func (authInfo) AuthType() string { return "peer" }

func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	p, err := access.FromConn(conn)
	if err != nil {
		p = access.Principal{}
	}
	local := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity} // bytes don't leave the kernel
	return conn, authInfo{CommonAuthInfo: local, principal: p}, nil
}

func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are a server's")
}

func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peer"}
}

func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func (peerCredentials) OverrideServerName(string) error { return nil }

// principalOf returns who makes the call; the unknown principal where nobody asked the connection.
func principalOf(ctx context.Context) access.Principal {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(authInfo); ok {
			return info.principal
		}
	}
	return access.Principal{}
}
