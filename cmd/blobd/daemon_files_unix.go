//go:build unix

package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFiles is how many files this process may have open at a time: its hard limit, to which Go raises the soft one when
// a program starts. 0 is no limit.
func openFiles() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || uint64(limit.Cur) > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur)
}
