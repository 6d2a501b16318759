//go:build !windows

package main

import (
	"errors"
	"syscall"
)

// closedPipe reports whether a write failed because nobody reads any more. On the process's own stdout the Go runtime
// raises SIGPIPE instead, which ends it just as quietly.
func closedPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }
