// Package access is who is asking, and what they may do.
//
// A principal is what the operating system says of the process at the other end of a unix socket, taken once when the
// connection is accepted; nothing a caller sends is believed. Reading is open to whoever may open the socket; the admin
// service is not. Linux and macOS tell; elsewhere every principal is unknown and has no rights beyond reading.
package access

import (
	"net"
	"os"
	"slices"
	"strconv"
)

// nobody is the uid that stands for every user who has no number in our user namespace (the kernel's overflowuid): it
// may be anybody, so it is never a principal.
const nobody = 65534

// Principal is who asks. The zero value is the unknown principal.
type Principal struct {
	// Known is false when the operating system did not tell, or told "nobody"; the other fields are for logs then.
	Known bool
	UID   uint32
	GID   uint32
	PID   int32 // 0 where the platform does not tell
}

// FromConn asks the operating system who is at the other end of conn. On an error the principal is unknown.
func FromConn(conn net.Conn) (Principal, error) {
	p, err := peer(conn)
	if err != nil {
		return Principal{}, err
	}
	p.Known = p.UID != nobody
	return p, nil
}

// Key names the principal in scopes and logs: "uid:1000", or "unknown".
func (p Principal) Key() string {
	if !p.Known {
		return "unknown"
	}
	return "uid:" + strconv.FormatUint(uint64(p.UID), 10)
}

// Policy says who may do more than read. The zero value is a good policy.
type Policy struct {
	Admins []uint32 // uids that may use the admin service besides root and the daemon's own user
}

// Admin reports whether p may use the admin service.
func (y Policy) Admin(p Principal) bool {
	if !p.Known {
		return false
	}
	return p.UID == 0 || int(p.UID) == os.Geteuid() || slices.Contains(y.Admins, p.UID)
}
