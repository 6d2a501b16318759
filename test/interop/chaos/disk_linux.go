package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

const (
	// diskSize is twice the largest max_size of a daemon, and diskInodes some times the files that fit.
	diskSize   = 64 * mib
	diskInodes = 4000
)

// mount makes a disk of dir, as root: one in memory, small enough to be filled up. It returns false where it can't.
func mount(dir string) (bool, error) {
	if os.Geteuid() != 0 {
		return false, nil
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,nr_inodes=%d", diskSize, diskInodes))
	if errors.Is(err, syscall.EPERM) {
		return false, nil // root in a container without the right to mount
	}
	return err == nil, err
}

// unmount undoes mount, also while somebody has files open there.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
