package client_test

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/blobd/blobd/client"
)

// A full accept queue (EAGAIN on Linux) means that a daemon is there: Dial waits for its turn, however short the wait for
// a start is.
func TestDialWaitsForAFullQueue(t *testing.T) {
	path := filepath.Join(socketDir(t), "busy.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// A second listen on the same socket makes its queue as short as can be.
	if cerr := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	for {
		conn, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	dialled := make(chan error)
	go func() {
		c, err := client.Dial(t.Context(), client.WithSocket(path), client.WithStartTimeout(0))
		if err == nil {
			err = c.Close()
		}
		dialled <- err
	}()
	select {
	case err := <-dialled:
		t.Fatalf("Dial did not wait: %v", err)
	default:
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}
