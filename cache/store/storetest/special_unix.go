//go:build unix

package storetest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// special makes things that can wait for ever who opens them.
func special() map[string]func(path string) error {
	return map[string]func(path string) error{
		"a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a socket": socket,
	}
}

// socket makes a socket. Its name is put in place by a rename: bind takes short ones only.
func socket(path string) error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	short := filepath.Join(dir, "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: short}), syscall.Close(fd), os.Rename(short, path))
}
