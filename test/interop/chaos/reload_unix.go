//go:build unix

package main

import (
	"syscall"

	"github.com/blobd/blobd/test/interop/rig"
)

// reload has the daemon read its configuration again.
func reload(h *rig.Host) error { return h.Signal(syscall.SIGHUP) }
