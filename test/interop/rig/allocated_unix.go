//go:build unix

package rig

import (
	"io/fs"
	"syscall"
)

// allocated is what the disk gives up for a file.
func allocated(info fs.FileInfo) int64 {
	return info.Sys().(*syscall.Stat_t).Blocks * 512 // the unit of st_blocks, whatever the file system's own
}
