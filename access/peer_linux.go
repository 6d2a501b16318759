package access

import (
	"net"

	"golang.org/x/sys/unix"
)

func peer(conn net.Conn) (Principal, error) {
	var cred *unix.Ucred
	err := control(conn, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return Principal{}, err
	}
	return Principal{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}
