package access

import (
	"net"

	"golang.org/x/sys/unix"
)

func peer(conn net.Conn) (Principal, error) {
	var p Principal
	err := control(conn, func(fd int) error {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return err
		}
		p.UID = cred.Uid
		if cred.Ngroups > 0 {
			p.GID = cred.Groups[0]
		}
		if pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID); err == nil {
			p.PID = int32(pid)
		}
		return nil
	})
	return p, err
}
