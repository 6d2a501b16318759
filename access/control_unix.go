//go:build linux || darwin

package access

import (
	"fmt"
	"net"
	"syscall"
)

// control runs f on conn's descriptor.
func control(conn net.Conn, f func(fd int) error) error {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return fmt.Errorf("peer credentials: a %T has no descriptor", conn)
	}
	raw, err := sc.SyscallConn()
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
