package vfs

import (
	"errors"

	"golang.org/x/sys/windows"
)

// IsDiskTrouble reports whether err is the disk refusing to take more (full, over quota, read-only, broken), as opposed
// to a name that can't be used.
func IsDiskTrouble(err error) bool {
	for _, e := range []error{windows.ERROR_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED, windows.ERROR_WRITE_PROTECT,
		windows.ERROR_IO_DEVICE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
