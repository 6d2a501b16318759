//go:build unix

package interop_test

import (
	"io/fs"
	"syscall"
)

// owner is who owns a file, as far as the system knows.
func owner(info fs.FileInfo) (uid, gid uint32) {
	st := info.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}
