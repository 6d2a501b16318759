//go:build unix

package store_test

import (
	"syscall"

	"github.com/blobd/blobd/cache/store/storetest"
)

// diskFaults are what a disk says when it refuses.
func diskFaults() []storetest.Fault {
	return []storetest.Fault{
		{Name: "EIO", Err: syscall.EIO},
		{Name: "EIO from then on", Err: syscall.EIO, Sticky: true},
		{Name: "ENOSPC", Err: syscall.ENOSPC},
		{Name: "EDQUOT", Err: syscall.EDQUOT},
		{Name: "EROFS", Err: syscall.EROFS},
		{Name: "EMFILE", Err: syscall.EMFILE},
		{Name: "EMFILE from then on", Err: syscall.EMFILE, Sticky: true},
	}
}
