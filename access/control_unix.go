//go:build linux || darwin

package access

import (
	"fmt"
	"net"
)

// control runs f on conn's descriptor.
func control(conn net.Conn, f func(fd int) error) error {
	unix, ok := conn.(*net.UnixConn) // others answer too, with nonsense
	if !ok {
		return fmt.Errorf("peer credentials: a %T has none", conn)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	if ferr != nil {
		return fmt.Errorf("peer credentials: %w", ferr)
	}
	return nil
}
