//go:build unix

package vfs

import (
	"errors"
	"syscall"
)

// IsDiskTrouble reports whether err is the disk refusing to take more (full, over quota, read-only, broken), as opposed
// to a name that can't be used.
func IsDiskTrouble(err error) bool {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
