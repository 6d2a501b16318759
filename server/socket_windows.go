package server

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// refused reports whether a dial failed because no process listens.
func refused(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// isSocket: Windows keeps a socket as a reparse point, which Go shows as irregular or, in recent versions, as a socket.
func isSocket(file fs.FileInfo) bool { return file.Mode()&(fs.ModeSocket|fs.ModeIrregular) != 0 }
