//go:build unix

package main

import (
	"os"
	"syscall"
)

// reloadSignals have the configuration read again.
func reloadSignals() []os.Signal { return []os.Signal{syscall.SIGHUP} }
