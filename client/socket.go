package client

import (
	"os"
	"path/filepath"
)

// SocketEnv names the environment variable that says where the daemon's socket is, to daemon and clients alike.
const SocketEnv = "BLOBD_SOCKET"

const hostSocket = "/run/blobd/blobd.sock"

// DefaultSocket is where a daemon of this user listens when it is not told otherwise: $BLOBD_SOCKET; else
// /run/blobd/blobd.sock for root; else blobd/blobd.sock in $XDG_RUNTIME_DIR, or in the user's cache folder where there is
// no such variable (macOS, Windows, a bare login). It is empty when the user has neither.
func DefaultSocket() string {
	if path := os.Getenv(SocketEnv); path != "" {
		return path
	}
	if os.Geteuid() == 0 {
		return hostSocket
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return ""
		}
	}
	return filepath.Join(dir, "blobd", "blobd.sock")
}

// sockets is where a client looks, in order: $BLOBD_SOCKET alone when it is set; else the user's own daemon, then the
// host's.
func sockets() []string {
	own := DefaultSocket()
	if os.Getenv(SocketEnv) != "" || own == hostSocket {
		return []string{own}
	}
	if own == "" {
		return []string{hostSocket}
	}
	return []string{own, hostSocket}
}
