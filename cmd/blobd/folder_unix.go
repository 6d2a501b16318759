//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// trustFolder says why a folder can't hold a cache: others than this user and root own it, or may write in it, and so
// put into it what they like. What can't be looked at is for who uses it to find out.
func trustFolder(dir string) error {
	in, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	if !in.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if owner, ok := in.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		why := fmt.Sprintf("it belongs to user %d, and blobd runs as user %d", owner.Uid, os.Geteuid())
		return &folderError{dir: dir, why: why, mend: fmt.Sprintf("chown -R %d %s", os.Geteuid(), dir)}
	}
	const others = 0o022
	if in.Mode().Perm()&others != 0 {
		why := fmt.Sprintf("users other than its owner may write in it (mode %04o)", in.Mode().Perm())
		return &folderError{dir: dir, why: why, mend: "chmod go-w " + dir}
	}
	return nil
}
