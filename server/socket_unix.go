//go:build unix

package server

import (
	"errors"
	"io/fs"
	"syscall"
)

// refused reports whether a dial failed because no process listens.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

func isSocket(file fs.FileInfo) bool { return file.Mode()&fs.ModeSocket != 0 }
