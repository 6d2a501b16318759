package main

import (
	"errors"
	"syscall"
)

// closedPipe reports whether a write failed because nobody reads any more.
func closedPipe(err error) bool {
	const errorNoData = syscall.Errno(232) // "The pipe is being closed."
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, errorNoData)
}
