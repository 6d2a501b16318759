//go:build unix

package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// TakeOver takes a socket that another process, such as systemd, has made and listens on for us. It must be a unix stream
// socket with a path. Close stops listening here and leaves the socket where it is: callers go on waiting at it. The file is
// closed, also on an error.
func TakeOver(file *os.File) (*Socket, error) {
	defer file.Close() // l has a copy of its own
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("the socket that was handed over: %w", err)
	}
	s, err := takeOver(l)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the socket that was handed over %w", err), l.Close())
	}
	return s, nil
}

// takeOver's errors say what the socket is.
func takeOver(l net.Listener) (*Socket, error) {
	addr := l.Addr()
	listener, ok := l.(*net.UnixListener)
	if !ok || addr.Network() != "unix" {
		return nil, fmt.Errorf("is one of %s (%s), not a unix stream socket", addr.Network(), addr)
	}
	if !filepath.IsAbs(addr.String()) {
		return nil, fmt.Errorf("has no path by which clients would find it (its address is %q)", addr)
	}
	if err := listens(listener); err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	return &Socket{
		UnixListener: listener, path: addr.String(), handed: true, close: sync.OnceValue(listener.Close),
	}, nil
}

// listens tells a listener from a connection, which net.FileListener takes for one.
func listens(l *net.UnixListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var listening int
	failed := raw.Control(func(fd uintptr) {
		listening, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	})
	if err := errors.Join(failed, err); err != nil {
		return fmt.Errorf("can't be asked whether it listens: %w", err)
	}
	if listening == 0 {
		return errors.New("does not listen (Accept= must be no)")
	}
	return nil
}
