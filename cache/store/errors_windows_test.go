package store_test

import (
	"golang.org/x/sys/windows"

	"github.com/blobd/blobd/cache/store/storetest"
)

// diskFaults are what a disk says when it refuses.
func diskFaults() []storetest.Fault {
	return []storetest.Fault{
		{Name: "broken", Err: windows.ERROR_IO_DEVICE},
		{Name: "broken from then on", Err: windows.ERROR_IO_DEVICE, Sticky: true},
		{Name: "full", Err: windows.ERROR_DISK_FULL},
		{Name: "over quota", Err: windows.ERROR_DISK_QUOTA_EXCEEDED},
		{Name: "write protected", Err: windows.ERROR_WRITE_PROTECT},
		{Name: "too many files", Err: windows.ERROR_TOO_MANY_OPEN_FILES},
		{Name: "too many files from then on", Err: windows.ERROR_TOO_MANY_OPEN_FILES, Sticky: true},
	}
}
